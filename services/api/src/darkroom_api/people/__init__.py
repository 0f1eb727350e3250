"""Who may sign in, and what they may do (API-06, API-20)."""
