"""Files that tasks need and make: brought to where they run, and from there."""
