"""HEAD wherever GET is (RFC 9110 section 9.3.2): the same answer, but for its body."""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEAD: Final = "darkroom.head"
_GONE: Final[Message] = {"type": "http.disconnect"}


def is_head(request: Request) -> bool:
    """Tell whether no body is wanted, so that none has to be read."""
    return bool(request.scope.get(_HEAD))


async def answer_head(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Have a request for a head answered as GET is, and end it with the head of the answer.

    What goes on to make a body hears that nobody takes it.
    """
    ended = False

    async def receiving() -> Message:
        return _GONE if ended else await receive()

    async def sending(message: Message) -> None:
        nonlocal ended
        if ended:
            return
        await send(message)
        if message["type"] == "http.response.start":
            ended = True
            await send({"type": "http.response.body", "body": b""})

    scope["method"], scope[_HEAD] = "GET", True
    await app(scope, receiving, sending)
