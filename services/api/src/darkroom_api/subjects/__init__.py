"""What the archive has of one person: all of it as one file, and its erasure (GDPR 15, 17, 20)."""
