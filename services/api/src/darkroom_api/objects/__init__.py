"""Objects that are made here of pictures and documents (IOD-07, docs/objects.md)."""
