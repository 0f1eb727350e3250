"""What retention would delete and has deleted, as people look at it (STO-04)."""
