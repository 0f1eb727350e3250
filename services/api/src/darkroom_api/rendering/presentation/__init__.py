"""Grayscale and colour softcopy presentation states, applied to images (PS3.3 A.33, PS3.4 N.2)."""
