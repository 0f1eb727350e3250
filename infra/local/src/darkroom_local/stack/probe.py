"""Reading the answer of a service's `/readyz`."""

from typing import Any

import httpx


def not_ready_reason(response: httpx.Response) -> str:
    """Return what a /readyz answer complains about, empty when it is ready."""
    if response.status_code == httpx.codes.OK:
        return ""
    try:
        checks: dict[str, Any] = response.json()["checks"]
        failed = {name: check["reason"] for name, check in checks.items() if not check["ok"]}
    except (ValueError, KeyError, TypeError):
        return f"/readyz answers {response.status_code}"
    return "; ".join(f"{name}: {reason}" for name, reason in failed.items()) or "not ready"
