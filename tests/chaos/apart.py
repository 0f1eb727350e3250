"""Two sites in network namespaces, cut off from each other for an hour under load (STO-07).

`python -m tests.chaos.apart --seconds 3600 --rate 1` as root. Each namespace has a PostgreSQL, a
RabbitMQ, ingest, metadata and a store that speaks S3 of its own; each site's second store is at the
other one. The cable between them is taken down: nobody is told so, packets are just gone. Senders
and people who edit go on at both. Then it is put in again, and what both have is compared.
"""

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TextIO

import asyncpg

from darkroom_common.clock import utc_now
from darkroom_common.output import say
from darkroom_common.settings import EVERY_INTERFACE
from darkroom_common.topology import render_policies
from tests.chaos.sites import Site
from tests.conftest import PostgresServer, RabbitServer
from tests.support.builders import new_uid
from tests.support.s3 import moto
from tests.support.services import Services
from tests.support.shared_engine import new_base, shared_engine
from tests.support.waiting import lasting, until

NET: Final = {"north": "10.78.0.1", "south": "10.78.0.2"}
OTHER: Final = {"north": "south", "south": "north"}
PORT: Final = 9000
_LINE: Final = 1 << 24


# One site: a process in its namespace, which does what it reads.


async def site(name: str, home: Path, keys: Path, answers: TextIO) -> None:
    """Be a site: start all of it, then do one command of standard input after the other."""
    async with AsyncExitStack() as stack:
        base = new_base(name)
        server = stack.enter_context(shared_engine("postgres", base))
        postgres = PostgresServer(server["superuser_url"], server["port"])
        rabbit = RabbitServer(**stack.enter_context(shared_engine("rabbitmq", base)))
        there = stack.enter_context(moto(home, host=EVERY_INTERFACE, port=PORT))
        management = stack.enter_context(rabbit.management())
        management.create_vhost("test-site", render_policies("test-site"))
        connection = await asyncpg.connect(postgres.maintenance_url)
        await connection.execute("CREATE DATABASE site")
        await connection.close()
        urls = postgres.superuser_url("site"), rabbit.url("test-site")
        made = Site(name, Services(home, *urls))
        made.services.secrets = json.loads(keys.read_text())
        stack.push_async_callback(made.services.stop)
        far = replace(there, base=f"http://{NET[OTHER[name]]}")
        second = far.url(name, more="&attempts=2&seconds=5")
        await made.begin(second, OTHER[name], there.url(OTHER[name]))
        await Commands(made, answers).serve()


@dataclass
class Commands:
    """What a site is asked from outside."""

    site: Site
    answers: TextIO
    ending: asyncio.Event | None = None
    load: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Answer until there is nothing more to read."""
        self.tell("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            word, *given = json.loads(line)
            self.tell(await getattr(self, word)(*given))

    def tell(self, what: Any) -> None:
        """Write an answer."""
        self.answers.write(json.dumps(what, default=str) + "\n")
        self.answers.flush()

    async def send(self, study: str) -> None:
        await asyncio.to_thread(self.site.send, study)

    async def delete(self, study: str) -> None:
        await self.site.delete(study)

    async def has(self, study: str) -> bool:
        return await self.site.has(study)

    async def begin(self, root: str, rate: float) -> None:
        self.ending = asyncio.Event()
        self.load = asyncio.create_task(self.site.load(root, rate, self.ending))

    async def end(self) -> None:
        assert self.ending is not None
        assert self.load is not None
        self.ending.set()
        await self.load

    async def waiting(self) -> int:
        return await self.site.waiting()

    async def lag(self) -> dict[str, Any]:
        """Return what is not sent and not taken, and since when."""
        (row,) = await self.site.rows(
            "SELECT (SELECT count(*) FROM index.replication_due) AS due,"
            " (SELECT coalesce(sum(size), 0) FROM index.replication_due)::bigint AS bytes,"
            " (SELECT count(*) FROM index.replication_told WHERE state IN ('waiting', 'working'))"
            " AS untaken, (SELECT count(*) FROM index.edit WHERE state IN"
            "  ('PENDING', 'EDITING', 'RETRYING')) AS editing"
        )
        return dict(row)

    async def found(self) -> dict[str, Any]:
        """Return all that is here, to be compared."""
        kept = await self.site.rows(
            "SELECT state, count(*) AS count FROM index.replication_told"
            " WHERE state IN ('outvoted', 'refused') GROUP BY state ORDER BY state"
        )
        return {
            "state": await self.site.state(),
            "stored": sorted(self.site.stored),
            "edits": self.site.edits,
            "conflicts": await self.site.conflicts(),
            "words": [list(row) for row in await self.site.words()],
            "kept": {row["state"]: row["count"] for row in kept},
        }


# Who has both of them, and the cable.


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def cable(prefix: str) -> Iterator[None]:
    """Have two namespaces with a cable in between."""
    spaces = {name: f"{prefix}-{name}" for name in NET}
    try:
        for space in spaces.values():
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
        ends = (
            ("name", "eth0", "netns", spaces["north"]),
            ("name", "eth0", "netns", spaces["south"]),
        )
        _ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for name, space in spaces.items():
            _ip("-n", space, "addr", "add", f"{NET[name]}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
        yield
    finally:
        for space in spaces.values():
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", space)


@dataclass
class Far:
    """A site, as it is asked from outside."""

    name: str
    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, name: str, prefix: str, home: Path, keys: Path) -> "Far":
        """Start it in its namespace; it ends with us."""
        words = ["ip", "netns", "exec", f"{prefix}-{name}", "setpriv", "--pdeathsig", "TERM"]
        words += [sys.executable, "-m", "tests.chaos.apart", "--site", name]
        pipe = asyncio.subprocess.PIPE
        with (home / "site.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(*words, "--home", str(home), "--keys", str(keys)),
                stdin=pipe,
                stdout=pipe,
                stderr=log,
                limit=_LINE,
            )
        return cls(name, process)

    async def answer(self) -> Any:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise AssertionError(f"{self.name} has ended")
        return json.loads(line)

    async def ask(self, *words: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words).encode() + b"\n")
        return await self.answer()

    async def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 60)
        except TimeoutError:
            self.process.kill()


def tell(**what: Any) -> None:
    """Say how it goes."""
    say(json.dumps({"at": f"{utc_now():%H:%M:%S}", **what}))


async def apart(seconds: float, rate: float) -> None:
    """Have two sites apart for so long, and compare them."""
    prefix = f"dk{secrets.token_hex(3)}"
    async with AsyncExitStack() as stack:
        stack.enter_context(cable(prefix))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="darkroom-apart-")))
        keys = place / "keys"
        keys.write_text(json.dumps(Services(place, "", "").secrets))
        both: list[Far] = []
        for name in NET:
            home = place / name
            home.mkdir()
            far = await Far.start(name, prefix, home, keys)
            stack.push_async_callback(far.stop)
            both.append(far)
        for far in both:
            await far.answer()
        await measured(both, prefix, seconds, rate)


async def measured(both: list[Far], prefix: str, seconds: float, rate: float) -> None:
    """Cut, join, wait until nothing waits any more, and compare."""
    north, south = both
    root, disputed = new_uid(), new_uid()
    await north.ask("send", disputed)
    for far in both:
        await far.ask("begin", root, rate)
    await until(lambda: south.ask("has", disputed), "the first object", limit=60)
    tell(event="cut", seconds=seconds)
    _ip("-n", f"{prefix}-north", "link", "set", "eth0", "down")
    await north.ask("delete", disputed)
    await south.ask("send", disputed)
    began = time.monotonic()
    while (left := seconds - (time.monotonic() - began)) > 0:
        await lasting(min(left, 60))
        tell(event="apart", north=await north.ask("lag"), south=await south.ask("lag"))
    behind = [await far.ask("lag") for far in both]
    _ip("-n", f"{prefix}-north", "link", "set", "eth0", "up")
    joined = time.monotonic()
    tell(event="joined", behind=behind)
    lags: list[int] = []

    async def caught_up() -> bool:  # the load goes on: what waits is as little as before
        lags.append(sum([await far.ask("waiting") for far in both]))
        return bool(lags[-1] <= 10 * rate + 10)

    await until(caught_up, "caught up", limit=600 + seconds, poll=0.5)
    caught = time.monotonic() - joined
    for far in both:
        await far.ask("end")
    ended = time.monotonic()

    async def drained() -> bool:
        return bool(sum([await far.ask("waiting") for far in both]) == 0)

    await until(drained, "lag drains", limit=600, poll=0.5)
    found = [await far.ask("found") for far in both]
    state, sent = found[0]["state"], {*found[0]["stored"], *found[1]["stored"]}
    told = {
        "apart": seconds,
        "objects": len(sent),
        "edits": sum(one["edits"] for one in found),
        "behind": behind,
        "caught_up_under_load": round(caught, 1),
        "drained_after_load": round(time.monotonic() - ended, 1),
        "lost": len(sent - state.keys()),
        "doubled": sum(one["conflicts"] for one in found),
        "kept": [one["kept"] for one in found],
    }
    tell(event="measured", **told)
    assert found[0]["state"] == found[1]["state"], "both have the same"
    assert state.keys() == sent
    assert found[0]["words"] == found[1]["words"]
    assert told["doubled"] == 0
    assert not any(one[2] == "True" for one in state.values()), "what went on has stayed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=1, help="objects a second at each site")
    parser.add_argument("--site", choices=sorted(NET), help="be one of them")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--keys", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    if given.site:
        with os.fdopen(os.dup(1), "w") as answers:
            os.dup2(2, 1)  # what is logged is no answer
            asyncio.run(site(given.site, given.home, given.keys, answers))
    else:
        asyncio.run(apart(given.seconds, given.rate))


if __name__ == "__main__":
    main()
