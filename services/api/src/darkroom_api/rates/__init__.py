"""How often and how much anybody may ask (API-04)."""
