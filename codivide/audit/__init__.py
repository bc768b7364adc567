"""What a person reads, decides and repairs after a run."""
