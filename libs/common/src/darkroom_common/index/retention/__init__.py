"""Retention and legal holds, as far as they are read from the index (STO-04)."""
