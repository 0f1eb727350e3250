"""QIDO-RS: searching (PS3.18 section 10.6)."""
