"""Hands e-mail to a mail server (RFC 5321), until it has taken it or refuses it for good.

What is cut off after the message and before the answer is sent again: with the same Message-ID, by
which whoever receives it tells that it is the same one.
"""

import asyncio
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import aiosmtplib
from pydantic import SecretStr

from darkroom_api.mail.address import Security
from darkroom_api.mail.message import Envelope, compose
from darkroom_api.mail.repository import PHASES, Mail
from darkroom_common.errors import ConfigurationError
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.runner import Runner
from darkroom_common.links.trust import is_strictness, refusal, trusting
from darkroom_common.seal import Unsealable
from darkroom_common.specs.destinations import Backoff

SECONDS: Final = 20.0
"""For each step of the conversation."""
WHOLE_SECONDS: Final = 120.0
"""For all of it: a server that answers a byte at a time keeps nobody else waiting."""
_AT_ONCE: Final = 2
_BACKOFF: Final = Backoff(initial_seconds=10, multiplier=3, ceiling_seconds=3600, max_attempts=24)
"""Nearly a day."""
_FOR_GOOD: Final = range(550, 560)
"""What a server says of a mailbox or a message, and will say again; other answers may change."""


@dataclass(frozen=True)
class MailServer:
    """Whom e-mail is handed to, and how.

    Attributes:
        ca: a file with the authorities of its certificate; None: the system's.
        sender: the address that e-mail comes from.
        strict: whether certificates have to follow RFC 5280 in all points.
    """

    host: str
    port: int
    security: Security
    ca: Path | None
    username: str
    password: SecretStr | None
    sender: str
    strict: bool = True

    def context(self) -> ssl.SSLContext:
        """Return what checks the certificate.

        Raises:
            ConfigurationError: the file of authorities cannot be read.
        """
        try:
            return trusting(self.ca, strict=self.strict)
        except OSError as error:
            raise ConfigurationError(f"SMTP_CA: {error.strerror or 'no certificates'}") from error


class Delivery:
    """Sends what waits."""

    def __init__(
        self, claims: Claims[Attempt], mail: Mail, server: MailServer, public_url: str
    ) -> None:
        self._mail = mail
        self._server = server
        self._context = server.context()
        self._url = public_url
        self.runner = Runner(claims, self.attempt, at_once=_AT_ONCE, each=_AT_ONCE)

    async def attempt(self, job: Attempt) -> Ending:
        """Hand over one e-mail."""
        job.backoff = _BACKOFF
        try:
            await self._send(self._message(job))
        except Unsealable:
            return Ending(PHASES.failed, "It cannot be opened with PHI_KEYS.")
        except aiosmtplib.SMTPRecipientsRefused as error:
            return self._refused(job, error.recipients[0].code)
        except aiosmtplib.SMTPResponseException as error:  # its text may name the recipient
            return self._refused(job, error.code)
        except TimeoutError:
            return self._again(job, "The mail server does not answer in time.")
        except (aiosmtplib.SMTPException, OSError) as error:
            return self._again(job, _unreachable(error.__cause__ or error))
        return Ending(PHASES.ended_well[0])

    def _message(self, job: Attempt) -> EmailMessage:
        row = job.row
        values = {"url": self._url, **self._mail.values(row)}
        envelope = Envelope(self._server.sender, row["recipient"], job.id, row["created_at"])
        return compose(row["template"], values, envelope)

    async def _send(self, message: EmailMessage) -> None:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            timeout=SECONDS,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            tls_context=None if server.security == "none" else self._context,
            username=server.username or None,
            password=server.password.get_secret_value() if server.password else None,
        )
        async with asyncio.timeout(WHOLE_SECONDS), client:
            await client.send_message(message)

    def _refused(self, job: Attempt, code: int) -> Ending:
        reason = f"The mail server has answered {code}."
        if code in _FOR_GOOD:
            return Ending(PHASES.failed, reason)
        return self._again(job, reason)

    def _again(self, job: Attempt, reason: str) -> Ending:
        return self._mail.kind.again(job, _BACKOFF, reason, self.runner.chance())


def _unreachable(cause: BaseException) -> str:
    if is_strictness(cause):
        return f"The mail server's certificate is refused: {refusal(cause, 'TLS_STRICT')}."
    return f"The mail server cannot be reached: {type(cause).__name__}."
