"""What surrounds every route: errors, permissions, documents, middleware."""
