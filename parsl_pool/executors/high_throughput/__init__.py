"""The pilot-job backend: an interchange, managers and their workers."""
