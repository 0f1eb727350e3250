"""STOW-RS: what the api hands on becomes objects by the write path of C-STORE."""
