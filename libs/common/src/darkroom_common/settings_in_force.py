"""The settings of a service as they are in force, without what is secret; each tells its own."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretBytes, SecretStr
from pydantic_core import to_jsonable_python

from darkroom_common.amqp.broker import Broker
from darkroom_common.conformance.lines import StatedLine
from darkroom_common.errors import DependencyUnavailable, TransientError
from darkroom_common.messages.events import SettingItem, SettingsInForce
from darkroom_common.settings import PREFIX, SettingsBase
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
HIDDEN: Final = "(hidden)"
_SECRET: Final = re.compile(r"(secret|password|token|keys?|credential)s?$")
_AGAIN_SECONDS: Final = 5.0


async def tell_settings(
    service: str, settings: SettingsBase, broker: Broker, stated: Sequence[StatedLine] = ()
) -> None:
    """Tell the audit log and the desk once what a service has started with; never ends.

    Args:
        service: whose they are.
        settings: in force.
        broker: takes the message.
        stated: what it says of itself in the conformance statement.
    """
    message = SettingsInForce(
        service=service, settings=tuple(shown(settings)), stated=tuple(stated)
    )
    while True:
        try:
            await broker.publish(message)
        except (DependencyUnavailable, TransientError) as error:
            log.debug("settings.untold", reason=str(error))
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            await asyncio.Event().wait()


def shown(settings: SettingsBase) -> list[SettingItem]:
    """Return every setting, by name."""
    fields = type(settings).model_fields
    return [
        SettingItem(
            name=f"{PREFIX}{name.upper()}",
            value=_shown(name, getattr(settings, name)),
            is_default=name not in settings.model_fields_set,
            description=fields[name].description or "",
        )
        for name in sorted(fields)
    ]


def _shown(name: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, SecretStr | SecretBytes) or _SECRET.search(name):
        return HIDDEN
    plain = to_jsonable_python(value)
    return _without_credentials(plain)


def _without_credentials(value: Any) -> Any:
    """Return a value whose URLs name no user and have no query: both may hold what is secret."""
    if isinstance(value, dict):
        return {name: _without_credentials(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_credentials(one) for one in value]
    if not isinstance(value, str) or "://" not in value:
        return value
    try:
        parts = urlsplit(value)
    except ValueError:
        return HIDDEN
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()
