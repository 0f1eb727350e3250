"""Callbacks: events sent by HTTP to whoever wants them, signed and at least once (API-13)."""
