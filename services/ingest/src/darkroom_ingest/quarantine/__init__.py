"""What could not be accepted, and what an operator does about it."""
