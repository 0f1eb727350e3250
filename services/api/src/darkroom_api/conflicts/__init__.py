"""Conflicts: the list of trouble, both sides of one, and what is decided about it."""
