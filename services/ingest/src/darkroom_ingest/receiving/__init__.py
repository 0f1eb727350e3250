"""The write path of the guarantee: from a C-STORE to its answer."""
