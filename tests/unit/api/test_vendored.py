"""What browsers run and we did not write is fetched by its hash, and minified where that can be."""

import base64
import gzip
import hashlib
import importlib.util
import io
import json
import platform
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from darkroom_api.console.assets import content_of
from darkroom_api.console.screens.images import viewer
from tests.support.deployed import ROOT

SCRIPT = b"let  a  =  1;"
SHORT = b"leta=1;"
PROGRAM = b"#!/bin/sh\ntr -d ' '\n"


def a_tarball(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files.items():
            one = tarfile.TarInfo(name)
            one.size = len(content)
            archive.addfile(one, io.BytesIO(content))
    return made.getvalue()


def the_script() -> Any:
    where = ROOT / "services" / "api" / "vendor" / "fetch.py"
    spec = importlib.util.spec_from_file_location("vendor_fetch", where)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


class House:
    """A folder that is fetched into, and a registry."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fetch = the_script()
        self.folder = folder / "vendored"
        self.registry = {"viewer": a_tarball({"package/a.js": SCRIPT, "package/b.css": SCRIPT})}
        monkeypatch.setattr(self.fetch, "HERE", folder)
        monkeypatch.setattr(self.fetch, "TARGET", self.folder)
        monkeypatch.setattr(self.fetch, "SMALLEST", 1)
        monkeypatch.setattr(self.fetch, "fetched", self.fetched)
        listed = {
            "viewer": self.listed("viewer", keep=["*"], minify="*.js"),
            f"esbuild-{platform.machine()}": self.listed(
                "esbuild", keep=["esbuild"], run=["esbuild"], asked=True
            ),
        }
        (folder / "packages.json").write_text(json.dumps(listed), "utf-8")

    @staticmethod
    def listed(name: str, **more: Any) -> dict[str, Any]:
        known = {"package": name, "version": "1", "licence": "MIT", "folder": "package/"}
        return {**known, "integrity": "", **more}

    def fetched(self, one: dict[str, Any], source: str) -> bytes:
        if one["package"] not in self.registry:
            raise self.fetch.Unfetched("404")
        return self.registry[one["package"]]

    def has(self) -> tuple[bytes, bytes, bool]:
        """What is kept of the script and of the style, and whether all is done."""
        script, style = (self.folder / "viewer" / name for name in ("a.js.gz", "b.css.gz"))
        done = (self.folder / "viewer" / ".fetched").exists()
        return gzip.decompress(script.read_bytes()), gzip.decompress(style.read_bytes()), done


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path, monkeypatch)


def test_scripts_are_as_they_came_until_a_minifier_can_be_had(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    house.fetch.main({})
    assert house.has() == (SCRIPT, SCRIPT, False)
    assert "not minified: 404" in capsys.readouterr().err
    house.registry["esbuild"] = a_tarball({"package/esbuild": b"no program"})
    house.fetch.main({})
    assert house.has() == (SCRIPT, SCRIPT, False)
    house.registry["esbuild"] = a_tarball({"package/esbuild": PROGRAM})
    house.fetch.main({})
    assert house.has() == (SHORT, SCRIPT, True)
    house.registry.clear()
    house.fetch.main({})  # nothing is fetched again
    assert house.has() == (SHORT, SCRIPT, True)


def test_a_minifier_that_fails_over_a_script_ends_it(house: House) -> None:
    house.registry["esbuild"] = a_tarball({"package/esbuild": b"#!/bin/sh\ntest $# = 1\n"})
    with pytest.raises(SystemExit, match=r"a\.js cannot be minified"):
        house.fetch.main({})


def test_another_tarball_than_the_hash_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opener:
        def open(self, url: str, timeout: float) -> io.BytesIO:
            return io.BytesIO(SCRIPT)

    fetch = the_script()
    monkeypatch.setattr(fetch.urllib.request, "build_opener", Opener)
    digest = base64.b64encode(hashlib.sha512(SCRIPT).digest()).decode()
    one = {"package": "@a/b", "version": "1", "integrity": f"sha512-{digest}"}
    assert fetch.fetched(one, "https://registry.example/") == SCRIPT
    with pytest.raises(SystemExit, match="is not what packages"):
        fetch.fetched({**one, "integrity": "sha512-AAAA"}, "https://registry.example/")


def test_the_page_of_the_viewer_names_parts_that_there_are() -> None:
    if not viewer._OHIF.is_dir():
        pytest.skip("the viewer is not fetched here")
    named = re.findall(r'href="/viewer/([^"]+)"', "".join(viewer._parts()))
    assert len(named) == len(viewer._AHEAD)
    assert all(content_of(viewer._OHIF / name) for name in named)
