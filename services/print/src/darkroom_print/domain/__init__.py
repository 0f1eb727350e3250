"""Films as values: nothing here reads, sends or decodes."""
