"""`darkroom status`: what the running stack wrote down, and how its services answer now."""

import asyncio
from dataclasses import replace

import httpx
from rich.console import Console

from darkroom_local.stack.probe import not_ready_reason
from darkroom_local.stack.state import ProcessState, StackState
from darkroom_local.stack.view import table


async def show(state: StackState, console: Console) -> bool:
    """Print a table; return whether every process is ready."""
    async with httpx.AsyncClient(timeout=3, trust_env=False) as client:
        now = await asyncio.gather(*(_ask(client, one) for one in state.processes))
    console.print(table(now))
    console.print(
        f"DICOM {state.ae_title} port {state.dicom_port} · {state.base_url} · pid {state.pid}",
        markup=False,
        highlight=False,
    )
    for one in now:
        if not one.ready:
            console.print(f"{one.name} is not ready; its log: {one.log}", markup=False)
    return bool(now) and all(one.ready for one in now)


async def _ask(client: httpx.AsyncClient, one: ProcessState) -> ProcessState:
    if one.health_url is None:
        return one
    try:
        response = await client.get(f"{one.health_url}/readyz")
    except httpx.HTTPError:
        return replace(one, ready=False, reason="does not answer")
    reason = not_ready_reason(response)
    return replace(one, ready=not reason, reason=reason)
