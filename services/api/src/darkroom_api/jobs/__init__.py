"""Jobs of transmit and print, over REST."""
