"""Objects made over into what a destination takes."""
