"""Stored objects become rows of the index."""
