"""From a template and values to a message (RFC 5322)."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import lru_cache
from typing import Any, Final

import jinja2

_SUBJECT: Final = "Subject: "
_LONGEST_SUBJECT: Final = 200


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    """Return the templates: plain text, where nothing needs to be escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("darkroom_api.mail"),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@dataclass(frozen=True)
class Envelope:
    """What a message says of itself.

    Attributes:
        sender, to: addresses.
        mail: the id, of which the Message-ID is made.
        at: when it was put.
    """

    sender: str
    to: str
    mail: str
    at: dt.datetime


def compose(template: str, values: Mapping[str, Any], envelope: Envelope) -> EmailMessage:
    """Return a message: the same for the same arguments.

    Args:
        template: its name; the first line of the file is the subject.
        values: of the template; a line end in one of them ends no header.
        envelope: see there.
    """
    shown = {k: _one_line(v) if isinstance(v, str) else v for k, v in values.items()}
    text = _templates().get_template(f"{template}.txt").render(shown)
    subject, _, body = text.partition("\n")
    message = EmailMessage(policy=SMTP)
    message["From"] = Address("Darkroom", addr_spec=envelope.sender)
    message["To"] = Address(addr_spec=envelope.to)
    message["Subject"] = _one_line(subject.removeprefix(_SUBJECT))[:_LONGEST_SUBJECT]
    message["Date"] = format_datetime(envelope.at.astimezone(dt.UTC))
    message["Message-ID"] = f"<{envelope.mail}@{envelope.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence is answered
    message.set_content(body.strip("\n") + "\n", cte="quoted-printable")
    return message
