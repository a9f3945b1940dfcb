"""The demo: reads a whole source tree with a pool, and loses a worker on the way."""
