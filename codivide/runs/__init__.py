"""What a run leaves, and how it is read: folder, label table, model, pictures."""
