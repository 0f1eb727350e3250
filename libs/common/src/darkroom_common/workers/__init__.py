"""Worker processes that do what must not be done in a service's own."""
