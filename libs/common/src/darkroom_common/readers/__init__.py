"""What other services read of a schema; its writer keeps these tables and columns as they are."""
