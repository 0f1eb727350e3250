"""What lets a request through, or refuses it because of the licence."""

from typing import Final

from starlette.types import Scope

from darkroom_api.http.parts import parts_of
from darkroom_api.licence.decision import NEW_WORK
from darkroom_api.licence.standing import require_room

_CHANGES: Final = "SELECT EXISTS (SELECT FROM TABLE WHERE name = $1)"


async def require_licensed(scope: Scope, method: str, path: str) -> None:
    """Let nothing be added that the licence does not cover.

    Args:
        scope: of the request, with the parameters of its path.
        method: of the request.
        path: of its route.

    Raises:
        ApiError: 402, with the true reason.
    """
    work = NEW_WORK.get((method, path))
    if work is None:
        return
    async with parts_of(scope).database.acquire() as db:
        if method == "PUT" and await db.fetchval(
            _CHANGES.replace("TABLE", work.table), scope["path_params"]["name"]
        ):
            return
        await require_room(db, work)
