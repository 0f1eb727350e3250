"""What disagrees with what the index has: kept, told, and resolved by an operator."""
