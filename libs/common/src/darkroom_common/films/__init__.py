"""Films as they are planned: what a printer can do of an order, without pixels and I/O."""
