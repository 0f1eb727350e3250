"""What other nodes ask: queries of what is stored."""
