"""The routes, a module for each noun. Their permissions are in `auth/permissions.py`."""
