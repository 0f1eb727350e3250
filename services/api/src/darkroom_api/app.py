"""The application: routes and error handlers."""

from typing import Final

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from darkroom_api.accounts import own_routes as own_account
from darkroom_api.accounts import routes as auth
from darkroom_api.accounts.access import shorter
from darkroom_api.audit import routes as audit
from darkroom_api.bulk import routes as bulk
from darkroom_api.callbacks import routes as callbacks
from darkroom_api.conflicts import routes as conflicts
from darkroom_api.conformance import routes as conformance
from darkroom_api.console.screens import SCREENS
from darkroom_api.dead_letters import routes as dead_letters
from darkroom_api.desk import quarantine, replication, reports, shown_settings, system, verification
from darkroom_api.dicomweb import capabilities, metadata
from darkroom_api.dicomweb.retrieving import levels, objects, uri, values
from darkroom_api.dicomweb.searching import routes as search
from darkroom_api.dicomweb.storing import deletion, update
from darkroom_api.dicomweb.storing import routes as storing
from darkroom_api.dicomweb.workitems import listening as workitem_reports
from darkroom_api.dicomweb.workitems import routes as workitems
from darkroom_api.dicomweb.workitems import search as workitem_search
from darkroom_api.dicomweb.workitems import subscriptions as workitem_subscriptions
from darkroom_api.edge import flags
from darkroom_api.edge.directory import Directory
from darkroom_api.events import routes as events
from darkroom_api.exports import routes as exports
from darkroom_api.http import docs, handlers, health
from darkroom_api.http.errors import handled
from darkroom_api.http.guarded import GuardedRoute, require_listed
from darkroom_api.http.parts import Parts
from darkroom_api.jobs import migrations
from darkroom_api.jobs import print as print_jobs
from darkroom_api.jobs import retrieve as retrieve_jobs
from darkroom_api.jobs import transmit as transmit_jobs
from darkroom_api.licence import routes as licence
from darkroom_api.objects import routes as objects_made
from darkroom_api.oidc import routes as oidc
from darkroom_api.people import api_keys, roles, user_sessions, users
from darkroom_api.remote import procedure_steps as mpps
from darkroom_api.remote import query as remote
from darkroom_api.rendering import routes as rendering
from darkroom_api.resources import destinations, indexed_tags, printers, rules, senders
from darkroom_api.retention import routes as retention
from darkroom_api.studies import detail as study_detail
from darkroom_api.studies import editing as study_editing
from darkroom_api.studies import holds, patients, recall
from darkroom_api.studies import removal as study_removal
from darkroom_api.studies import search as study_search
from darkroom_api.subjects import erasure as person_erasure
from darkroom_api.subjects import export as person_export
from darkroom_api.validation import routes as validation
from darkroom_api.worklist import routes as worklist

_MODULES: Final = (
    health,
    flags,
    licence,
    docs,
    auth,
    audit,
    own_account,
    objects_made,
    oidc,
    users,
    user_sessions,
    roles,
    api_keys,
    study_search,
    destinations,
    rules,
    transmit_jobs,
    printers,
    senders,
    indexed_tags,
    callbacks,
    events,
    print_jobs,
    remote,
    mpps,
    worklist,
    retrieve_jobs,
    migrations,
    conflicts,
    dead_letters,
    bulk,
    exports,
    quarantine,
    verification,
    replication,
    reports,
    shown_settings,
    system,
    conformance,
    search,
    capabilities,
    metadata,
    objects,
    values,
    levels,
    uri,
    storing,
    deletion,
    update,
    workitem_search,
    workitems,
    workitem_subscriptions,
    workitem_reports,
    rendering,
    patients,
    study_editing,
    study_removal,
    holds,
    recall,
    retention,
    person_export,
    person_erasure,
    study_detail,
    validation,
    *SCREENS,
)

VIEWS: Final = (
    transmit_jobs.VIEW,
    retrieve_jobs.VIEW,
    migrations.VIEW,
    print_jobs.VIEW,
    conflicts.VIEW,
    study_editing.VIEW,
    study_removal.VIEW,
    recall.VIEW,
)
"""The kinds of work that accepted commands ask for."""


class Application(FastAPI):
    """FastAPI between us and the routes alone: `RequestScope` has the rest of what is around it."""

    def build_middleware_stack(self) -> ASGIApp:
        """Return what a request goes through: our handlers of errors, and the router."""
        inner = AsyncExitStackMiddleware(self.router)
        return ExceptionMiddleware(inner, handlers=self.exception_handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; between us and a route that asks for the request alone is nothing."""
        scope["app"] = self
        route = self.state.directory.find(scope)
        if isinstance(route, GuardedRoute) and route.is_plain:
            await handled(route.handle, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


_prepared: Final[list[Application]] = []


def prepare() -> None:
    """Make an application without its parts, for the next `create_app`, here or in a fork.

    It is the same whatever the settings, and most of the processor time that a start takes.

    Raises:
        ConfigurationError: a route is not in the permission table, or the reverse.
    """
    if not _prepared:
        _prepared.append(_with_routes())


def described() -> FastAPI:
    """Return an application for what it says of its routes; it has no parts to answer with."""
    return _with_routes()


def create_app(parts: Parts) -> FastAPI:
    """Return an application that nobody else has, of these parts.

    Raises:
        ConfigurationError: a route is not in the permission table, or the reverse.
    """
    prepare()
    app = _prepared.pop()
    app.version = parts.health.version
    app.state.parts = parts
    return app


def _with_routes() -> Application:
    app = Application(
        title="Darkroom",
        description="Receives, keeps, indexes, sends, prints and serves medical images.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # RequestScope has a span of each request, without texts of exceptions, and our metrics.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.router.route_class = GuardedRoute
    handlers.install(app)
    for module in _MODULES:
        module.add(app)
    _add_shorter_paths(app)
    study_detail.keep_apart(app)
    require_listed(app)
    app.state.directory = app.router.middleware_stack = Directory(app)
    return app


def _add_shorter_paths(app: FastAPI) -> None:
    """Serve what DICOMweb reads under the paths of other archives, too."""
    for route in [one for one in app.routes if isinstance(one, GuardedRoute)]:
        reading = sorted({"GET", "HEAD"} & (route.methods or set()))
        for path in shorter(route.path) if reading else ():
            app.add_api_route(
                path,
                route.endpoint,
                methods=reading,
                response_class=Response,
                include_in_schema=False,
            )
