"""Signing in at a provider of OpenID Connect (API-03)."""
