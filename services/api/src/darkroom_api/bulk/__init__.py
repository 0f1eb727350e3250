"""Changes of many examinations at once: small ones while the client waits, others as jobs."""
