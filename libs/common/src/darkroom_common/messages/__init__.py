"""The contract between the services: frozen, versioned facts and requests.

One file per publisher; `registry.py` lists them; `schemas/` holds what was promised.
"""
