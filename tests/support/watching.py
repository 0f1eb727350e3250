"""A real Prometheus and a real Alertmanager of a test, with the rules of the chart, only faster.

What stands in `infra/helm/darkroom/files` and `infra/compose/prometheus.yml` is used as it is, but
for addresses and for durations: two minutes of an operator are a second here. Ranges within
expressions stay as they are.
"""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.support.deployed import ROOT
from tests.support.mail_server import PASSWORD, USER, MailServer
from tests.support.waiting import until

FILES: Final = ROOT / "infra" / "helm" / "darkroom" / "files"
TRUST: Final = {"ca_file": "/run/inner-tls/ca.pem"}
SCRAPED: Final = ROOT / "infra" / "compose" / "prometheus.yml"
MINUTES_A_SECOND: Final = 2.0
_LONGEST: Final = 15.0
_DURATION: Final = re.compile(r"(\d+)([smh])")
_MINUTES: Final = {"s": 1 / 60, "m": 1.0, "h": 60.0}


def faster(duration: str) -> str:
    """A duration of the rules at the pace of the test; those above 15 minutes as 15 minutes."""
    minutes = sum(int(number) * _MINUTES[unit] for number, unit in _DURATION.findall(duration))
    return f"{round(min(minutes, _LONGEST) / MINUTES_A_SECOND * 1000)}ms"


def rules_at_the_pace(file: Path) -> dict[str, Any]:
    """The rules of a file, of which the durations alone are others."""
    told: dict[str, Any] = yaml.safe_load(file.read_text())
    for group in told["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = faster(rule["for"])
    return told


def alertmanager_for(mail: MailServer, pager: str) -> dict[str, Any]:
    """The configuration of Alertmanager, of which the addresses and the durations are others."""
    told: dict[str, Any] = yaml.safe_load((FILES / "alertmanager.yaml").read_text())
    password = mail.file.with_name("smtp-password")
    password.write_text(PASSWORD)
    told["global"] |= {
        "smtp_smarthost": f"localhost:{mail.port}",
        "smtp_auth_username": USER,
        "smtp_auth_password_file": str(password),
    }
    for route in (told["route"], *told["route"]["routes"]):
        for name in ("group_wait", "group_interval", "repeat_interval"):
            if name in route:
                route[name] = faster(route[name])
    for receiver in told["receivers"]:
        for mails in receiver.get("email_configs", ()):
            mails["tls_config"] = {"ca_file": str(mail.authority.file)}
        for hook in receiver.get("webhook_configs", ()):
            hook["url"] = hook["url"].replace("https://pager.hospital.example", pager)
    return told


@dataclass
class Watch:
    """Prometheus and Alertmanager as processes.

    Attributes:
        targets: the port of each service, by its name.
    """

    directory: Path
    targets: Mapping[str, int]
    port: int = field(default_factory=free_port)
    alerts_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def configure(self, mail: MailServer, pager: str) -> None:
        """Write what the two read."""
        told = yaml.safe_load(SCRAPED.read_text())
        told["global"] = {"scrape_interval": "2s", "evaluation_interval": "500ms"}
        here = self.directory / "darkroom"
        here.mkdir()
        for name in told["rule_files"]:
            rules = rules_at_the_pace(FILES / Path(name).name)
            (self.directory / name).write_text(yaml.safe_dump(rules))
        (manager,) = told["alerting"]["alertmanagers"]
        for called in (manager, *told["scrape_configs"]):  # here all of them speak plainly
            assert (called.pop("scheme"), called.pop("tls_config")) == ("https", TRUST)
        manager["static_configs"] = [{"targets": [f"{LOOPBACK}:{self.alerts_port}"]}]
        assert {job["job_name"] for job in told["scrape_configs"]} == set(self.targets)
        for job in told["scrape_configs"]:
            where = f"{LOOPBACK}:{self.targets[job['job_name']]}"
            job["static_configs"] = [{"targets": [where]}]
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump(told))
        manager_file = self.directory / "alertmanager.yml"
        manager_file.write_text(yaml.safe_dump(alertmanager_for(mail, pager)))

    def commands(self) -> list[list[str]]:
        """What is run."""
        return [
            [
                "prometheus",
                f"--config.file={self.directory}/prometheus.yml",
                f"--storage.tsdb.path={self.directory}/tsdb",
                f"--web.listen-address={LOOPBACK}:{self.port}",
                "--log.level=warn",
            ],
            [
                "prometheus-alertmanager",
                f"--config.file={self.directory}/alertmanager.yml",
                f"--storage.path={self.directory}/alertmanager",
                f"--web.listen-address={LOOPBACK}:{self.alerts_port}",
                "--cluster.listen-address=",
                "--log.level=warn",
            ],
        ]

    async def query(self, client: httpx.AsyncClient, expression: str) -> list[dict[str, Any]]:
        """What Prometheus answers now: the series, each with its labels and value."""
        answer = await client.get(f"{self.url}/api/v1/query", params={"query": expression})
        told = answer.json()
        assert told["status"] == "success", f"{expression}: {told}"
        found: list[dict[str, Any]] = told["data"]["result"]
        return found


@asynccontextmanager
async def watching(
    directory: Path, targets: Mapping[str, int], mail: MailServer, pager: str
) -> AsyncIterator[Watch]:
    """Run both for the length of a block."""
    directory.mkdir()
    watch = Watch(directory, targets)
    watch.configure(mail, pager)
    running: list[asyncio.subprocess.Process] = []
    try:
        for command in watch.commands():
            assert shutil.which(command[0]), f"{command[0]}: infra/local/bootstrap.sh test"
            with (directory / f"{command[0]}.log").open("wb") as log:
                running.append(
                    await asyncio.create_subprocess_exec(
                        *command, stdout=log, stderr=subprocess.STDOUT
                    )
                )
        async with httpx.AsyncClient(timeout=20) as client:
            for url in (watch.url, f"http://{LOOPBACK}:{watch.alerts_port}"):

                async def ready(url: str = url) -> bool:
                    return (await client.get(f"{url}/-/ready")).status_code == httpx.codes.OK

                await until(ready, url, retry=(httpx.HTTPError,))
        yield watch
    finally:
        for process in running:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@dataclass
class Pager:
    """What is behind the webhooks."""

    port: int = field(default_factory=free_port)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1]) if length else 0)
        self.calls.append((head.split()[1], json.loads(body)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def a_pager() -> AsyncIterator[Pager]:
    """Have one."""
    made = Pager()
    server = await asyncio.start_server(made.take, LOOPBACK, made.port)
    async with server:
        yield made
