"""HTTPS by the api itself: no plain text, no old version, and a renewed certificate at once."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from darkroom_local.engines.ports import LOOPBACK
from tests.support.certificates import Authority, new_versions_only, shown
from tests.support.services import Services, prepare_database
from tests.support.waiting import until


@pytest.mark.req("DEP-08")
async def test_https_takes_a_renewed_certificate_and_no_plain_text(
    services: Services, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    authority, fresh = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    pair = authority.sign("node")
    services.extra |= {
        "HTTP_TLS_CERTIFICATE": str(pair.certificate),
        "HTTP_TLS_KEY": str(pair.key),
        "HTTP_PROCESSES": "2",
    }
    await prepare_database(services.superuser_url, "ingest", "metadata", "transmit", "print", "api")
    await services.start("api")
    port = services.http_port
    await new_versions_only(port, authority.file)
    async with httpx.AsyncClient(timeout=20) as plain:
        with pytest.raises(httpx.TransportError):
            await plain.get(f"http://{LOOPBACK}:{port}/livez")

    url = f"https://localhost:{port}"
    login = {"username": "admin", "password": services.admin_password}
    async with httpx.AsyncClient(base_url=url, verify=authority.client(), timeout=20) as open_one:
        answer = await open_one.post("/api/v1/auth/login", json=login)
        assert answer.status_code == 200
        assert "strict-transport-security" in answer.headers
        assert all("Secure" in cookie for cookie in answer.headers.get_list("set-cookie"))
        big = await open_one.get("/openapi.json")  # of several records of TLS
        assert len(big.content) > 1 << 16
        assert big.json()["info"]

        async def now(authority: Authority) -> str:
            return (await shown(port, authority.client()))[1]

        assert await now(authority) == pair.sha256
        renewed = fresh.sign("renewed")
        pair.replace(renewed)
        log = tmp_path / "api.log"
        await until(lambda: log.read_text().count('"certificate.in_force"') == 4)  # two, twice
        assert await now(fresh) == renewed.sha256
        expired = fresh.sign("expired", -timedelta(days=1))
        pair.replace(expired)

        async def told() -> bool:
            status, text = services.running["api"].probe("/readyz")
            return status == 200 and "an older certificate is in force" in text

        await until(told)
        assert await now(fresh) == renewed.sha256
        kept = await open_one.get("/api/v1/health")  # what was open goes on
        assert kept.status_code == 200
