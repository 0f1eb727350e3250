"""DIMSE services as their user (SCU): what other nodes are asked (PS3.4, PS3.7)."""
