"""Tags that people have named to search by."""
