"""What holds for all routes: headers, other origins, hosts, proxies, errors, versions."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.integration.api.conftest import Api, running_api
from tests.support.services import Services

JSON = {"content-type": "application/json"}
APP = "https://app.hospital.example"
NAME = "darkroom.hospital.example"
NINE = "accept,accept-encoding,authorization,content-type,dnt,origin,user-agent,x-csrftoken"
EXPOSED = {
    *("Link", "X-Total-Count", "ETag", "Warning", "Location", "Retry-After", "X-Request-Id"),
    *("Content-Location", "Content-Range", "Accept-Ranges", "Digest", "Repr-Digest"),
}
REQUEST = {
    "access-control-request-method": "PATCH",
    "access-control-request-headers": f"{NINE},x-requested-with,if-match",
}


@pytest.fixture
async def edge(services: Services) -> AsyncIterator[Api]:
    services.extra |= {
        "CORS_ORIGINS": json.dumps([APP, "http://localhost:3000"]),
        "ALLOWED_HOSTS": json.dumps([NAME, "*.clinic.example", "127.0.0.1"]),
        "TRUSTED_PROXIES": '["127.0.0.9/32"]',
        "LIMIT_ANONYMOUS": "6/day",
    }
    async with running_api(services) as api:
        yield api


@pytest.mark.req("API-12")
async def test_every_answer_has_the_headers_that_protect(edge: Api) -> None:
    for answer in (
        await edge.anonymous.get("/api/v1/health"),
        await edge.anonymous.get("/nothing/here"),
        await edge.client.get("/api/v1/destinations"),
        await edge.client.get("/api/v1/destinations/none"),
        await edge.client.request("BREW", "/api/v1/destinations"),
        await edge.anonymous.get("/api/v1/destinations"),
        await edge.anonymous.get("/" + "x" * 20_000),
        await edge.anonymous.get("/livez", headers={"x": "y" * 70_000}),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]
        assert "strict-transport-security" not in answer.headers


@pytest.mark.req("API-24")
async def test_tls_is_believed_of_a_trusted_proxy_only(edge: Api) -> None:
    said = {
        "x-forwarded-proto": "https",
        "x-forwarded-for": "8.8.8.8",
        "forwarded": "for=1.2.3.4;proto=https;host=evil.example",
        "x-forwarded-host": "evil.example",
    }
    by_hand = await edge.anonymous.get("/livez", headers=said)
    assert "strict-transport-security" not in by_hand.headers
    transport = httpx.AsyncHTTPTransport(local_address="127.0.0.9")
    async with httpx.AsyncClient(base_url=edge.url, transport=transport, timeout=20) as proxy:
        passed_on = await proxy.get("/livez", headers=said)
        assert passed_on.headers["strict-transport-security"].startswith("max-age=")
        only = {"forwarded": "for=1.2.3.4;proto=https"}
        assert "strict-transport-security" not in (await proxy.get("/livez", headers=only)).headers
        lied = {**said, "x-forwarded-proto": "https, http"}
        assert "strict-transport-security" not in (await proxy.get("/livez", headers=lied)).headers
        odd = {**said, "x-forwarded-proto": "gopher"}
        assert "strict-transport-security" not in (await proxy.get("/livez", headers=odd)).headers
        # The address that the proxy tells is who is counted, whatever the client put before it.
        for turn in range(7):
            made_up = {"x-forwarded-for": f"10.1.1.{turn}, 8.8.4.4"}
            answer = await proxy.get("/openapi.json", headers=made_up)
        assert answer.status_code == 429
        other = {"x-forwarded-for": "8.8.4.4, 9.9.9.9"}
        assert (await proxy.get("/openapi.json", headers=other)).status_code == 200


async def test_preflights_are_answered_before_signing_in_and_count_for_nothing(edge: Api) -> None:
    for _ in range(10):
        answer = await edge.anonymous.options(
            "/api/v1/studies/1.2.3", headers={"origin": APP, **REQUEST}
        )
        assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    allowed = set(answer.headers["access-control-allow-headers"].split(", "))
    assert set(REQUEST["access-control-request-headers"].split(",")) <= allowed
    assert "Origin" in answer.headers["vary"]
    assert not answer.content
    for stranger in ("https://evil.example", "null", APP + ".evil.example", APP.upper()):
        answer = await edge.anonymous.options(
            "/api/v1/studies", headers={"origin": stranger, **REQUEST}
        )
        assert answer.status_code == 204
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.req("API-12")
async def test_answers_and_errors_may_be_read_by_allowed_origins(edge: Api) -> None:
    origin = {"origin": APP}
    signed = {"authorization": edge.client.headers["authorization"], **origin, **JSON}
    huge = "x" * (2 << 20)
    for answer, status in (
        (await edge.anonymous.get("/api/v1/destinations", headers=signed), 200),
        (await edge.anonymous.get("/api/v1/destinations", headers=origin), 401),
        (await edge.anonymous.get("/nothing", headers=origin), 404),
        (await edge.anonymous.delete("/livez", headers=origin), 405),
        (await edge.anonymous.post("/api/v1/rules", content=huge, headers=signed), 413),
        (await edge.anonymous.post("/api/v1/rules", content="{", headers=signed), 422),
    ):
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == APP
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert set(answer.headers["access-control-expose-headers"].split(", ")) == EXPOSED
        assert "Origin" in answer.headers["vary"]
    stranger = {**signed, "origin": "https://evil.example"}
    answer = await edge.anonymous.get("/api/v1/destinations", headers=stranger)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"


@pytest.mark.req("API-24")
async def test_other_hosts_are_refused(edge: Api) -> None:
    expected = {
        NAME: 200,
        NAME.upper() + ":8443": 200,
        NAME + ".": 200,
        "a.b.clinic.example": 200,
        "clinic.example": 421,
        "evil.example": 421,
        NAME + ".evil.example": 421,
        "evil" + NAME: 421,
        "[::1]": 421,
        f"evil.example#{NAME}": 400,
        f"user@{NAME}": 400,
    }
    for host, status in expected.items():
        headers = {"host": host, "x-forwarded-host": NAME}
        answer = await edge.anonymous.get("/api/v1/health", headers=headers)
        assert answer.status_code == status, host
        if status != 200:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == 4001
            assert host not in answer.text


@pytest.mark.req("API-10")
async def test_every_error_has_the_one_form(api: Api) -> None:
    rules = "/api/v1/rules"
    answers = [
        await api.client.get("/no/such/route"),
        await api.client.get("/api/v1/destinations/none"),
        await api.client.delete("/api/v1/destinations"),
        await api.client.post(rules, content="{", headers=JSON),
        await api.client.post(rules, content=b'{"name": "\\u0000"}', headers=JSON),
        await api.client.post(rules, content=b'{"name": "\\ud800"}', headers=JSON),
        await api.client.post(rules, content=b"\xff\xfe", headers=JSON),
        await api.client.post(rules, content=b"[" * 5000, headers=JSON),
        await api.client.post(rules, content=b'{"name": "a", "name": "b"}', headers=JSON),
        await api.client.post(rules, content="x" * (2 << 20), headers=JSON),
        await api.client.get("/api/v1/transmit/jobs?page_size=100000"),
        await api.client.get("/api/v1/transmit/jobs?page=-1&sort=;drop"),
        await api.client.get("/api/v1/transmit/jobs?cursor=AAAA"),
        await api.client.get("/api/v1/destinations/%00"),
        await api.client.get("/api/v1/conflicts/%ff%fe"),
        await api.client.get("/" + "x" * 20_000),
        await api.client.get("/livez", headers={"x": "y" * 70_000}),
    ]
    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert {"type", "title", "status", "detail", "code", "name", "request_id"} <= body.keys()
        assert body["status"] == answer.status_code
        assert body["request_id"] == answer.headers["x-request-id"]
        assert body["detail"]
    assert answers[2].headers["allow"]


async def test_a_body_says_that_it_is_json(api: Api) -> None:
    rules = "/api/v1/rules"
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "json",
        "",
    ):
        answer = await api.client.post(rules, content=b"{}", headers={"content-type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, 4007), kind
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/a.b+json"):
        answer = await api.client.post(rules, content=b"{}", headers={"content-type": kind})
        assert answer.status_code == 422, kind
    assert (await api.client.post(rules, content=b"{}")).status_code == 415
    assert (await api.client.post(rules)).status_code == 422  # nothing is none of any kind
    packed = {**JSON, "content-encoding": "gzip"}
    answer = await api.client.post(rules, content=gzip.compress(b"{}"), headers=packed)
    assert answer.status_code == 415


@pytest.mark.req("API-23")
async def test_health_is_public(api: Api) -> None:
    answer = await api.anonymous.get("/api/v1/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"status", "version", "checks"}
    assert body["status"] == "healthy"
    assert body["checks"]["postgres"] == {"ok": True, "reason": "ok"}
    assert await asyncio.gather(*(_status(api) for _ in range(150))) == [200] * 150


async def _status(api: Api) -> int:
    return (await api.anonymous.get("/api/v1/health")).status_code
