"""Grayscale softcopy presentation states (PS3.3 A.33.1)."""
