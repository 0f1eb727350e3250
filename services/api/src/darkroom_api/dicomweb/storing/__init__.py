"""STOW-RS: bodies go through to ingest, who has the spool (docs/adr)."""
