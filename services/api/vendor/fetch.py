"""Fetches what browsers run and we did not write: `python3 services/api/vendor/fetch.py`.

Each package of packages.json is one tarball of an npm registry, taken over HTTPS and compared with
its integrity hash; of it only what is named is kept, compressed where that helps. Neither Node nor
npm is needed. Nothing is fetched at run time. The registry is that of `NPM_CONFIG_REGISTRY`, of an
.npmrc, or the public one. An argument of the form `NAME=FOLDER` puts one package elsewhere alone:
so set-up takes the tools that are "asked" for, axe-core and helm. What is to be minified is by
esbuild, a program without Node, which is fetched for that and not kept; where it cannot be had, the
scripts stay as they are, and the next run tries again.
"""

import base64
import gzip
import hashlib
import hmac
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
TARGET: Final = HERE.parent / "src" / "darkroom_api" / "console" / "vendored"
PUBLIC: Final = "https://registry.npmjs.org/"
MOST_BYTES: Final = 256 << 20
SECONDS: Final = 120
SMALLEST: Final = 1024
"""Bytes of a file that is worth compressing."""
TEXTS: Final = (".js", ".css", ".wasm", ".json", ".svg", ".html", ".txt", ".ttf")
SETTING: Final = "registry"
EVERYBODYS: Final = (Path("/etc/npmrc"), Path("/usr/local/etc/npmrc"))


class Unfetched(SystemExit):
    """The registry is away, or has no such package."""


def registry() -> str:
    """Return the address of the registry that is set, with a slash at its end."""
    for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry"):
        if os.environ.get(name):
            return os.environ[name].rstrip("/") + "/"
    own = os.environ.get("NPM_CONFIG_USERCONFIG") or Path.home() / ".npmrc"
    for file in (HERE.parents[2] / ".npmrc", Path(own), *EVERYBODYS):
        for line in file.read_text("utf-8").splitlines() if file.is_file() else ():
            name, _, value = (part.strip() for part in line.partition("="))
            if name == SETTING:
                return value.rstrip("/") + "/"
    return PUBLIC


def fetched(one: dict[str, Any], source: str) -> bytes:
    """Return the tarball of a package, which is the one that the hash names."""
    bare = one["package"].rpartition("/")[2]
    url = f"{source}{one['package']}/-/{bare}-{one['version']}.tgz"
    if not url.startswith("https://"):
        raise SystemExit(f"{url} is not taken: the registry has to be one of HTTPS")
    try:
        with urllib.request.build_opener().open(url, timeout=SECONDS) as answer:
            body: bytes = answer.read(MOST_BYTES)
    except OSError as error:
        raise Unfetched(f"{url}: {error}") from error
    kind, _, wanted = one["integrity"].partition("-")
    found = base64.b64encode(hashlib.new(kind, body).digest()).decode()
    if not hmac.compare_digest(found, wanted):
        raise SystemExit(f"{url} is not what packages.json names: {kind}-{found}")
    return body


def unpack(one: dict[str, Any], body: bytes, folder: Path, program: Path | None = None) -> None:
    """Write what is kept of a package, its scripts shorter where there is a minifier."""
    with tarfile.open(fileobj=BytesIO(body), mode="r:gz") as archive:
        for member in archive:
            name = member.name.removeprefix(one["folder"])
            if not member.isfile() or name == member.name or not is_kept(one, name):
                continue
            content = archive.extractfile(member)
            if content is None or ".." in Path(name).parts:
                raise SystemExit(f"{one['package']} has a strange file: {name}")
            changed = exchanged(one, name, content.read())
            if program is not None and fnmatchcase(name, one.get("minify", "")):
                changed = minified(program, name, changed)
            write(folder / name, changed)
            if name in one.get("run", ()):
                (folder / name).chmod(0o755)


def exchanged(one: dict[str, Any], name: str, content: bytes) -> bytes:
    """Return a file with what stands otherwise in ours.

    OHIF is made for `/`, not `/viewer/`, and has a private member, which Firefox 88 cannot read.
    Before it draws it makes seven contexts of WebGL, where one is enough, as on a telephone, and
    asks several times whether all slices of a series make a volume, which is remembered.
    """
    for change in one.get("exchange", ()):
        if fnmatchcase(name, change["in"]):
            content = content.replace(change["text"].encode(), change["by"].encode())
            if fnmatchcase(name, change["surely"]) and change["by"].encode() not in content:
                raise SystemExit(f"{one['package']}: {name} does not say {change['text']}")
    return content


@contextmanager
def minifier(tool: dict[str, Any] | None) -> Iterator[Path | None]:
    """Hold the program of a package, if there is one and it runs here."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "esbuild"
        try:
            if tool is not None:
                unpack(tool, fetched(tool, registry()), Path(folder))
                subprocess.run(
                    (program, "--version"),
                    check=True,
                    capture_output=True,
                    stdin=subprocess.DEVNULL,
                )
        except (Unfetched, OSError, subprocess.SubprocessError) as error:
            sys.stderr.write(f"darkroom setup: scripts are not minified: {error}\n")
            tool = None
        yield None if tool is None else program


def minified(program: Path, name: str, content: bytes) -> bytes:
    """Return a script without what only people read; a browser begins it in half the time."""
    command = (program, "--minify", "--target=es2022", "--loader=js", "--log-level=error")
    done = subprocess.run(command, check=False, input=content, capture_output=True, timeout=SECONDS)
    if done.returncode or not done.stdout:
        raise SystemExit(f"{name} cannot be minified: {done.stderr.decode(errors='replace')}")
    return done.stdout


def is_kept(one: dict[str, Any], name: str) -> bool:
    """Tell whether a file of a package is kept."""
    dropped = any(fnmatchcase(name, pattern) for pattern in one.get("drop", ()))
    return not dropped and any(fnmatchcase(name, pattern) for pattern in one["keep"])


def write(path: Path, content: bytes) -> None:
    """Write a file; one that compresses well stands there with `.gz` at its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in TEXTS and len(content) >= SMALLEST:
        path = path.with_name(path.name + ".gz")
        content = gzip.compress(content, mtime=0)
    path.write_bytes(content)


def main(only: dict[str, str]) -> None:
    """Fetch what is not there, or is of another version."""
    listed: dict[str, dict[str, Any]] = json.loads((HERE / "packages.json").read_text("utf-8"))
    for name, one in listed.items():
        folder = Path(only.get(name, "")) if only else TARGET / name
        if (only and name not in only) or (one.get("asked") and not only):
            continue
        mark = folder / ".fetched"
        said = json.dumps(one, sort_keys=True)
        if mark.is_file() and mark.read_text("utf-8") == said:
            continue
        sys.stdout.write(f"darkroom setup: {one['package']} {one['version']} ({one['licence']})\n")
        body = fetched(one, registry())
        shutil.rmtree(folder, ignore_errors=True)
        tool = listed.get(f"esbuild-{platform.machine()}") if one.get("minify") else None
        with minifier(tool) as program:
            unpack(one, body, folder, program)
        if tool is None or program is not None:
            mark.write_text(said, "utf-8")


if __name__ == "__main__":
    main(dict(argument.split("=", 1) for argument in sys.argv[1:]))
