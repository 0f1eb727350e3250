"""What is stored and sent of destinations, printers, rules and films."""
