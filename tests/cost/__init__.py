"""What the pool costs while it waits, in bytes and counts: memory, wake-ups, bytes on the wire, steps of the broker."""
