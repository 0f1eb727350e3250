"""Who may send objects to this node (ING-05)."""

from fastapi import FastAPI

from darkroom_api.resources.served import serve
from darkroom_common.resources.declared import SENDERS


def add(app: FastAPI) -> None:
    """Add the routes."""
    serve(app, SENDERS)
