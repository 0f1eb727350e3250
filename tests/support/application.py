"""The application of the API without anything behind it: its routes and its document."""

from typing import Any, cast

from fastapi import FastAPI

from darkroom_api.app import create_app
from darkroom_api.http.parts import Parts
from darkroom_common.health import Health


def an_app() -> FastAPI:
    """Make the application; nothing of it is asked, so most parts are missing."""
    missing = cast("Any", None)
    return create_app(
        Parts(
            settings=missing,
            health=Health("api", "1"),
            reader=missing,
            store=missing,
            accounts=missing,
            tokens=missing,
            guard=missing,
            parsing=missing,
            handover=missing,
            rendering=missing,
            kept_metadata=missing,
            validating=missing,
            searches=missing,
            rates=missing,
            flow=missing,
            open_door=missing,
            dead_letters=missing,
            own=missing,
            hub=missing,
            report_news=missing,
            provider=missing,
            broker=missing,
            database=missing,
            outbox=missing,
            seal=missing,
            keys=missing,
            blind=missing,
            audit=missing,
            recorder=missing,
            reads=missing,
            verification=missing,
            uids=missing,
        )
    )
