"""What every wing may use: errors, files, devices, provenance, shared types; it knows nothing of labels."""
