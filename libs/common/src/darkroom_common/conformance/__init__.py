"""What a service says of itself in the conformance statement (PS3.2 annex N)."""
