"""From an order to films as values: nothing here reads, sends or decodes."""
