"""The life of a study (MET-04)."""
