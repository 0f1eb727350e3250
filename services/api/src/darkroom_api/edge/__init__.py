"""Where a request comes from and under which name it was sent: what is decided before any route."""
