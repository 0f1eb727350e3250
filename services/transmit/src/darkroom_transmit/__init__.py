"""Darkroom transmit: sends images to destinations."""
