"""Pixels of images: decoded, coded, and made what is seen. Worker processes alone import it."""
