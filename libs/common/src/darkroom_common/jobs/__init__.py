"""The job engine: what is kept in a table, claimed under a lease and worked at until it ends."""
