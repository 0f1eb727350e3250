"""What this service can do (PS3.18 sections 8.9 and annex H): its resources, as WADL or JSON."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final
from xml.etree import ElementTree as ET

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.dicomweb.accept import accepted
from darkroom_api.dicomweb.address import dicomweb_url
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import not_acceptable
from darkroom_api.http.responses import json_response

WADL: Final = "application/vnd.sun.wadl+xml"
JSON: Final = "application/json"
_NAMESPACE: Final = "http://wadl.dev.java.net/2009/02"
_BASE: Final = "/dicom-web"
_XML: Final = ("application/xml", "text/xml")
PATHS: Final = (_BASE, f"{_BASE}/")


async def capabilities(request: Request) -> Response:
    """Retrieve the capabilities of this service."""
    ranges = accepted(request)
    kinds = [
        kind for one in ranges for kind in (WADL, JSON, *_XML) if one.takes(kind)
    ]  # of one that takes several, WADL is the default
    if not kinds:
        raise not_acceptable([WADL, JSON])
    found = _resources(request.app, dicomweb_url(request))
    if kinds[0] == JSON:
        return await json_response(request, found, media_type=JSON, headers={"allow": "OPTIONS"})
    headers = {"allow": "OPTIONS", "vary": "Accept"}
    return Response(_wadl(found), headers=headers, media_type=kinds[0])


def _resources(app: FastAPI, base: str) -> dict[str, Any]:
    """Return every resource with its methods, their parameters and their media types."""
    methods: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for route in app.routes:
        if isinstance(route, APIRoute) and route.path.startswith(f"{_BASE}/"):
            path = route.path.removeprefix(f"{_BASE}/").replace(":path}", "}")
            methods[path] += [_method(name, route) for name in sorted(route.methods or ())]
    resources = [{"path": path, "methods": found} for path, found in methods.items()]
    return {"application": {"resources": {"base": f"{base}/", "resource": resources}}}


def _method(name: str, route: APIRoute) -> dict[str, Any]:
    given: list[Mapping[str, Any]] = (route.openapi_extra or {}).get("parameters", [])
    answers: Mapping[Any, Mapping[str, Any]] = route.responses
    wanted = route.openapi_extra or {}
    taken: Iterable[str] = wanted.get("requestBody", {}).get("content", ())
    return {
        "name": name,
        "id": route.name,
        "request": {
            "param": [
                {"name": one["name"], "style": "template" if one["in"] == "path" else one["in"]}
                for one in given
            ],
            "representation": [{"mediaType": kind} for kind in taken],
        },
        "response": [
            {
                "status": int(status),
                "representation": [{"mediaType": kind} for kind in one.get("content", ())],
            }
            for status, one in sorted(answers.items())
        ],
    }


def _wadl(found: dict[str, Any]) -> bytes:
    ET.register_namespace("", _NAMESPACE)
    root = _element("application")
    given = found["application"]["resources"]
    resources = _element("resources", root, base=given["base"])
    for one in given["resource"]:
        resource = _element("resource", resources, path=one["path"])
        for method in one["methods"]:
            made = _element("method", resource, name=method["name"], id=method["id"])
            asked = _element("request", made)
            for param in method["request"]["param"]:
                _element("param", asked, name=param["name"], style=param["style"])
            for kind in method["request"]["representation"]:
                _element("representation", asked, mediaType=kind["mediaType"])
            for answer in method["response"]:
                response = _element("response", made, status=str(answer["status"]))
                for kind in answer["representation"]:
                    _element("representation", response, mediaType=kind["mediaType"])
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _element(tag: str, above: ET.Element | None = None, /, **attributes: str) -> ET.Element:
    tag = f"{{{_NAMESPACE}}}{tag}"
    if above is None:
        return ET.Element(tag, attributes)
    return ET.SubElement(above, tag, attributes)


def add(app: FastAPI) -> None:
    """Add the routes."""
    for path in PATHS:
        app.add_api_route(
            path,
            capabilities,
            methods=["OPTIONS"],
            name=f"capabilities{'_of_base' if path == _BASE else ''}",
            tags=["DICOMweb"],
            response_class=Response,
            responses={**body("What there is.", WADL, JSON), **errors(401, 406, 429)},
        )
