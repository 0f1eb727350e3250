"""Writes docs/conformance.md, the statement of a system as it is by default: `make conformance`."""

import ast
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from starlette.routing import BaseRoute

from darkroom_api.app import described
from darkroom_api.conformance.own import stated as of_api
from darkroom_api.conformance.pages import markdown
from darkroom_api.conformance.statement import Statement, statement
from darkroom_api.settings import ApiSettings
from darkroom_ingest.conformance.stated import stated as of_ingest
from darkroom_ingest.settings import IngestSettings
from darkroom_print.conformance import stated as of_print
from darkroom_print.settings import PrintSettings
from darkroom_transmit.conformance import stated as of_transmit
from darkroom_transmit.settings import TransmitSettings

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "conformance.md"
SECRETS: Final = {
    "postgres_url": "postgresql://u@127.0.0.1/d",
    "amqp_url": "amqp://u:p@127.0.0.1/v",
    "store_url": "file:///store",
    "phi_keys": "x",
    "pseudonym_key": "x",
    "blind_index_key": "x",
    "jwt_key": "x",
    "audit_keys": "x",
    "spool": "/spool",
}


@cache
def routes() -> Sequence[BaseRoute]:
    """Return the routes of the api."""
    return described().routes


def stated(**changes: Any) -> Statement:
    """Return the statement of services with some settings."""
    given: Mapping[str, Any] = SECRETS | {"commitment_port": 11113} | changes
    others = {
        "ingest": list(of_ingest(IngestSettings(**given))),
        "transmit": list(of_transmit(TransmitSettings(**given))),
        "print": list(of_print(PrintSettings(**given))),
    }
    return statement("0.1.0", of_api(ApiSettings(**given), routes()), others)


@cache
def named_tests(folder: Path) -> set[str]:
    """Return the tests below a folder as pytest names them, without their parameters."""
    found = set()
    for path in folder.rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(f"{path.relative_to(folder.parent)}::{node.name}")
    return found


if __name__ == "__main__":
    PAGE.write_text(markdown(stated()), encoding="utf-8")
