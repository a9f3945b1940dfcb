"""The backends: where tasks run."""
