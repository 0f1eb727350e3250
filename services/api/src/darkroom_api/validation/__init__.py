"""`POST /api/v1/validate`: an object is held against the standard by workers."""
