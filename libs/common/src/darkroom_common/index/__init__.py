"""The schema `index`: which attributes it keeps, and how it is searched and read."""
