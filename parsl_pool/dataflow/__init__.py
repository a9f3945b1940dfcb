"""What the user's process knows about tasks: records, retries, dependencies."""
