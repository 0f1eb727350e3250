"""The permission table: complete, the same in code and database, closed by default."""

import json
import re
from importlib.resources import files
from typing import get_args

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from darkroom_api.accounts.access import ACCESS, access_of
from darkroom_api.accounts.permissions import EVERYTHING, ROLES, Open, Permission, allows
from darkroom_api.app import prepare
from darkroom_api.http.guarded import GuardedRoute, parameters_of, require_listed
from darkroom_api.http.openapi import openapi_document
from darkroom_common.errors import ConfigurationError
from tests.support.application import an_app


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """The application, of which these tests read alone."""
    return an_app()


def test_two_applications_have_nothing_in_common() -> None:
    prepare()
    one, two = an_app(), an_app()
    assert one.state.parts is not two.state.parts
    assert {id(route) for route in one.routes}.isdisjoint(id(route) for route in two.routes)
    assert one.version == two.version == "1"


def test_the_roles_of_code_and_database_are_the_same() -> None:
    migrations = sorted((files("darkroom_api") / "migrations").iterdir(), key=lambda one: one.name)
    blocks = [
        one.read_text().partition("INSERT INTO role_permission")[2].partition(";")[0]
        for one in migrations
    ]
    pairs = re.findall(r"\('(\w+)', '([\w:*]+)'\)", "".join(blocks))
    assert {role: {p for r, p in pairs if r == role} for role in ROLES} == {
        role: {str(p) for p in permissions} for role, permissions in ROLES.items()
    }


@pytest.mark.req("API-02")
def test_what_each_role_may() -> None:
    may = {
        role: {p for p in Permission if allows(p, permissions)}
        for role, permissions in ROLES.items()
    }
    assert may["system_admin"] == set(Permission)
    assert may["medical_admin"] == set(Permission) - {Permission.PERSONS_WRITE}
    assert may["radiologist"] > may["technician"]
    assert may["viewer"] == {Permission.STUDIES_READ, Permission.EXPORTS_DOWNLOAD}
    assert not allows(Permission.STUDIES_READ, frozenset())
    everything_on_studies = frozenset({"studies:*"})
    assert {p for p in Permission if allows(p, everything_on_studies)} == {
        p for p in Permission if p.startswith("studies:")
    }
    assert EVERYTHING not in {str(p) for p in Permission}


def test_the_table_and_the_routes_are_the_same(app: FastAPI) -> None:
    served = {
        (m, r.path) for r in app.routes if isinstance(r, GuardedRoute) for m in r.methods or ()
    }
    assert served == ACCESS.keys()


@pytest.mark.req("API-02")
def test_a_route_outside_of_the_table_keeps_the_service_from_starting() -> None:
    app = an_app()

    async def forgotten() -> None: ...

    app.add_api_route("/api/v1/forgotten", forgotten)
    with pytest.raises(ConfigurationError, match="forgotten"):
        require_listed(app)


def test_an_unguarded_route_keeps_the_service_from_starting() -> None:
    app = an_app()
    app.router.route_class = GuardedRoute.__bases__[0]

    async def studies() -> None: ...

    app.add_api_route("/api/v1/studies", studies)
    with pytest.raises(ConfigurationError, match="/api/v1/studies"):
        require_listed(app)


def test_documentation_is_closed_by_setting() -> None:
    assert access_of("GET", "/docs", open_docs=True) is Open.PUBLIC
    for path in ("/docs", "/docs/{asset}", "/openapi.json"):
        assert access_of("GET", path, open_docs=False) is Open.SIGNED_IN
    assert access_of("GET", "/livez", open_docs=False) is Open.PUBLIC
    assert access_of("DELETE", "/api/v1/studies", open_docs=True) is None


def test_the_document_says_what_every_route_answers(app: FastAPI) -> None:
    document = openapi_document(app)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if operation["x-permission"] != Open.PUBLIC.value:
                assert operation["security"], path
                answers = operation["responses"].keys()
                assert {"401", "503"} <= answers, path
                assert answers & {"101", "200", "201", "202", "204"}, path
            named = {one["name"].lower() for one in operation.get("parameters", ())}
            for header, status in (("if-match", "412"), ("if-none-match", "304")):
                assert header not in named or status in operation["responses"], path


@pytest.mark.req("API-16")
def test_the_document_names_every_way_to_sign_in(app: FastAPI) -> None:
    document = openapi_document(app)
    schemes = document["components"]["securitySchemes"]
    assert {(one["type"], one.get("in", "")) for one in schemes.values()} == {
        ("http", ""),
        ("apiKey", "cookie"),
        ("apiKey", "header"),
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            ways = [tuple(way) for way in operation.get("security", [])]
            if operation["x-permission"] == Open.PUBLIC.value:
                assert ways == [], path
                continue
            safe = method in ("get", "head")
            assert ("cookie",) in ways if safe else ("cookie", "CSRF token") in ways, path
            in_person = operation["x-permission"] == Open.IN_PERSON.value
            assert (("API key",) in ways) is not in_person, path
            assert ("access token",) in ways, path


def test_the_document_gives_every_error_its_form(app: FastAPI) -> None:
    document = openapi_document(app)
    assert "HTTPValidationError" not in document["components"]["schemas"]
    problems = 0
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                stored = status == "409" and operation["tags"] == ["STOW-RS"]
                own = stored or path in {"/readyz", "/api/v1/health"}  # the body says more
                if int(status) >= 400 and not own:
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)
                    problems += 1
    assert problems > 300
    referred = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(document)))
    assert referred <= document["components"]["schemas"].keys()
    assert {"Problem", "FieldError"} <= referred


def test_every_route_of_rest_knows_the_parameters_that_it_documents_and_no_others(
    app: FastAPI,
) -> None:
    document = openapi_document(app)["paths"]
    strict = 0
    for route in app.routes:
        assert isinstance(route, GuardedRoute)
        known = parameters_of(route)
        for method in route.methods or ():
            is_rest = route.path.startswith("/api/v1/")
            assert (known is None) == (not is_rest or ACCESS[method, route.path] is Open.PUBLIC), (
                route.path
            )
            if known is not None:
                said = document[route.path.replace(":path}", "}")][method.lower()]
                assert known == {
                    one["name"] for one in said.get("parameters", ()) if one["in"] == "query"
                }, route.path
                assert "422" in said["responses"], route.path
                strict += 1
    assert strict > 100


def test_what_is_yes_or_no_in_a_body_is_no_number_and_no_text(app: FastAPI) -> None:
    looked_at = set()
    for route in app.routes:
        body = getattr(route, "body_field", None)
        for model in models_of(body.field_info.annotation if body else None):
            for name, field in model.model_fields.items():
                kinds = {field.annotation, *get_args(field.annotation)}
                if bool in kinds:
                    strict = "strict=True" in repr(field.metadata) + repr(field.annotation)
                    assert strict, f"{model.__name__}.{name}"
                    looked_at.add(name)
    assert looked_at >= {"shared", "notify", "force", "is_active", "browser"}


def models_of(kind: object) -> set[type[BaseModel]]:
    """The models that a kind of value is made of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        inner = (models_of(field.annotation) for field in kind.model_fields.values())
        return {kind}.union(*inner)
    return set[type[BaseModel]]().union(*(models_of(one) for one in get_args(kind)))
