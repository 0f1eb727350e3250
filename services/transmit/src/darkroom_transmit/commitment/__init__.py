"""Storage commitment of what was sent (PS3.4 annex J)."""
