"""The HTTP server of every service: strict, and bounded before it knows who asks."""
