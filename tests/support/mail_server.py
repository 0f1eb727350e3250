"""A mail server as a process: STARTTLS and AUTH, what it has taken as lines of JSON, and moods.

`python -m tests.support.mail_server PORT CERTIFICATE KEY PASSWORD FILE [MOOD]`, where a mood is
`refuses` (550), `greylists` (451 to the first message) or `silent` (takes the first one and dies
before it says so).
"""

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tests.support.certificates import Authority
from tests.support.waiting import until

USER, PASSWORD = "darkroom", "a password of the test"


class Taking:
    """Takes messages."""

    def __init__(self, file: Path, mood: str) -> None:
        self.file = file
        self.mood = mood

    async def take(self, server: SMTP, session: Any, envelope: Any) -> str:
        if self.mood == "refuses":
            return "550 5.1.1 no such mailbox as person@clinic.example"
        mood, self.mood = self.mood, ""
        if mood == "greylists":
            return "451 4.7.1 come again"
        said = {"to": envelope.rcpt_tos, "content": envelope.content.decode()}
        with self.file.open("a") as file:
            file.write(json.dumps(said | {"tls": session.ssl is not None}) + "\n")
            file.flush()
        if mood == "silent":
            os._exit(0)
        return "250 taken"


Handler = type("Handler", (Taking,), {"handle_DATA": Taking.take})
"""As aiosmtpd wants it named."""


def authenticated(_: Any, __: Any, ___: Any, ____: str, given: LoginPassword) -> AuthResult:
    right = (given.login, given.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=right)


async def main(port: str, certificate: str, key: str, file: str, mood: str = "") -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    handler, loop = Handler(Path(file), mood), asyncio.get_running_loop()

    def session() -> SMTP:
        return SMTP(
            handler,
            hostname="localhost",
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            auth_exclude_mechanism=["LOGIN"],  # Alertmanager does not know its words for it
            authenticator=authenticated,
            loop=loop,
        )

    server = await loop.create_server(session, "127.0.0.1", int(port))
    await server.serve_forever()


@dataclass
class MailServer:
    """A server that runs."""

    port: int
    authority: Authority
    file: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def settings(self) -> dict[str, str]:
        """What the api is told of it."""
        return {
            "SMTP_HOST": "localhost",
            "SMTP_PORT": str(self.port),
            "SMTP_CA": str(self.authority.file),
            "SMTP_USERNAME": USER,
            "SMTP_PASSWORD": PASSWORD,
            "MAIL_FROM": "darkroom@clinic.example",
        }

    @property
    def taken(self) -> list[EmailMessage]:
        """The messages so far."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        found = [json.loads(line) for line in lines]
        assert all(one["tls"] for one in found)
        return [
            message_from_bytes(one["content"].encode(), _class=EmailMessage, policy=policy.default)
            for one in found
        ]

    async def start(self, mood: str = "") -> None:
        pair = self.authority.sign("mail")
        words = (str(self.port), str(pair.certificate), str(pair.key), str(self.file), mood)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.mail_server", *words
        )

        async def listening() -> bool:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            return True

        await until(listening, retry=(OSError,))

    async def stop(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def a_mail_server(directory: Path, port: int) -> AsyncIterator[MailServer]:
    """Have a server that is started by the test."""
    server = MailServer(port, Authority(directory), directory / "mail.jsonl")
    try:
        yield server
    finally:
        if server.process is not None:
            await server.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
