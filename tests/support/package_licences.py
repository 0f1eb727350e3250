"""The packages that the images hold, with the terms of each: docs/licences.md."""

import re
import tomllib
from importlib.metadata import metadata
from typing import Any, Final

from tests.support.deployed import ROOT

PAGE: Final = ROOT / "docs" / "licences.md"
HEAD: Final = """# Licences of the packages in the images

Written by `make licences` from uv.lock and what each package says of itself. A test keeps this page
true, and refuses a package whose terms are not in its list: nothing under the GPL, the LGPL or the
AGPL is imported. `make sbom` writes the same packages with their digests as CycloneDX.

| package | version | terms |
|---|---|---|
"""
# By what a classifier or the field License says, the identifier of SPDX.
_SPDX: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
_TERM: Final = re.compile(r"[\w.+-]+")


def packages() -> dict[str, str]:
    """Give the version of each package that a service brings with it, without our own."""
    found = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    locked: dict[str, dict[str, Any]] = {package["name"]: package for package in found}
    todo = [(name, "") for name in locked if name.startswith("darkroom-")]
    todo.remove(("darkroom-local", ""))
    seen: set[tuple[str, str]] = set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        package = locked[name]
        wanted = package.get("optional-dependencies", {}).get(extra, []) if extra else []
        for needed in [*package.get("dependencies", []), *wanted]:
            if "win32" in needed.get("marker", ""):
                continue
            todo += [(needed["name"], "")]
            todo += [(needed["name"], further) for further in needed.get("extra", [])]
    names = sorted({name for name, _ in seen if not name.startswith("darkroom-")})
    return {name: locked[name]["version"] for name in names}


def terms(name: str) -> str:
    """Give the licence expression of SPDX that an installed package says of itself, "" if none."""
    says = metadata(name)
    if expression := says.get_all("License-Expression"):
        return str(expression[0])
    classifiers = [
        _SPDX.get(value.rsplit("::", 1)[-1].strip(), value)
        for value in says.get_all("Classifier") or []
        if value.startswith("License ::") and not value.endswith("OSI Approved")
    ]
    if classifiers:
        return " OR ".join(dict.fromkeys(classifiers))
    first = "".join(says.get_all("License") or []).strip().partition("\n")[0]
    return _SPDX.get(first, first)


def alternatives(expression: str) -> list[set[str]]:
    """Give, of a licence expression, the sets of terms of which one has to be kept."""
    plain = re.sub(r"[()]", " ", expression)
    if " AND " in expression and " OR " in expression:  # the strictest reading: all of them
        plain = plain.replace(" OR ", " AND ")
    found = [set(_TERM.findall(part)) - {"AND", "WITH"} for part in plain.split(" OR ")]
    return [part for part in found if part]


def page() -> str:
    """Write the page."""
    rows = (f"| {name} | {version} | {terms(name)} |" for name, version in packages().items())
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
