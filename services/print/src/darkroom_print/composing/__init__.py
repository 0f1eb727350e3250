"""Films as bitmaps, composed in worker processes."""
