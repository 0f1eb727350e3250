"""STOW-RS (PS3.18 section 10.5) as the api and ingest have it in common."""
