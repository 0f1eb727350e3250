"""What ingest says of itself in the conformance statement."""
