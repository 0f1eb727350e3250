"""The operator's desk: what was refused, what was found wrong, and what is set."""
