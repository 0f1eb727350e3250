"""Other nodes, over REST."""
