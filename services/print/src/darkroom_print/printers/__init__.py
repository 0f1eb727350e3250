"""Printers: what they are, what they can do, how they are called."""
