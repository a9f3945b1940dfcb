"""Other people's programs: frameworks that take an Executor from their user."""
