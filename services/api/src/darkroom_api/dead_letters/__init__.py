"""Messages that were given up: kept in the database until an operator replays or discards them."""
