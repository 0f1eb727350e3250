"""DIMSE: what the services that speak it share (PS3.7, PS3.8)."""
