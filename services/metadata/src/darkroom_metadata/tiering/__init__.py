"""Studies that are moved to the slow store of two, and recalled from there."""
