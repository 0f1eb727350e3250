"""Rendered images and transcoded frames, made by worker processes (PS3.18 8.7.3, 8.7.4)."""
