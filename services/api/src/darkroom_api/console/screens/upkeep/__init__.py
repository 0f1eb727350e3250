"""Screens of what keeps the archive in order over the years."""
