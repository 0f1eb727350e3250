"""Objects: where bytes are kept. The spool makes them durable, the store keeps them."""
