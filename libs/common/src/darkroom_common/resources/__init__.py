"""What people configure: one declaration gives its storage, its messages and its routes."""
