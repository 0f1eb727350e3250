"""Masking: every object of a restored copy made anonymous, for installations that test (MET-07)."""
