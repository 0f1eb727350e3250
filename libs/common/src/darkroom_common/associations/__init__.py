"""From the journal of associations to the broker."""
