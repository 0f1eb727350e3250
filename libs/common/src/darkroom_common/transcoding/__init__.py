"""Objects in another transfer syntax. Worker processes alone import it."""
