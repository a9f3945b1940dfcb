"""Blocks: how many there are, and what becomes of them."""
