"""The application: routes and error handlers."""

from typing import Final

from fastapi import FastAPI

from darkroom_api import handlers
from darkroom_api.guarded import GuardedRoute, require_listed
from darkroom_api.parts import Parts
from darkroom_api.routes import (
    auth,
    destinations,
    docs,
    health,
    mpps,
    print_jobs,
    print_rules,
    printers,
    remote,
    retrieve,
    retrieve_jobs,
    rules,
    search,
    studies,
    transmit_jobs,
    values,
)

_MODULES: Final = (
    health,
    docs,
    auth,
    studies,
    destinations,
    rules,
    transmit_jobs,
    printers,
    print_rules,
    print_jobs,
    remote,
    mpps,
    retrieve_jobs,
    search,
    retrieve,
    values,
)


def create_app(parts: Parts) -> FastAPI:
    """Return the application.

    Raises:
        ConfigurationError: a route is not in the permission table, or the reverse.
    """
    app = FastAPI(
        title="Darkroom",
        version=parts.health.version,
        description="Receives, keeps, indexes, sends, prints and serves medical images.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.router.route_class = GuardedRoute
    app.state.parts = parts
    handlers.install(app)
    for module in _MODULES:
        module.add(app)
    require_listed(app)
    return app
