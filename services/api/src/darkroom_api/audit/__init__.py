"""Who did what with what, and when: written once, chained, and never changed (API-05)."""
