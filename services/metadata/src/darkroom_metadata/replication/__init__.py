"""A second store, and a second site, that have all that this one has (STO-07)."""
