"""The conformance statement (PS3.2 annex N): what every service says of itself, as one document."""
