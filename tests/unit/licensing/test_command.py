"""`darkroom licence`: installing a file, and what settings must fit together."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from darkroom_common.errors import ConfigurationError
from darkroom_licensing import command
from darkroom_licensing.document import Document, InvalidLicence, sign
from darkroom_licensing.issuers import INSTALLED
from darkroom_licensing.settings import LicensingSettings
from tests.support.licences import Clinic
from tests.support.odoo import INSTALLATION, SIGNED_BY

AT = datetime(2026, 11, 26, tzinfo=UTC)
BASE = {
    "DARKROOM_POSTGRES_URL": "postgresql://a:b@localhost/darkroom",
    "DARKROOM_AMQP_URL": "amqp://localhost",
}


def settings(monkeypatch: pytest.MonkeyPatch, **given: str) -> LicensingSettings:
    for name, value in {**BASE, **{f"DARKROOM_{k}": v for k, v in given.items()}}.items():
        monkeypatch.setenv(name, value)
    return LicensingSettings.load()


def a_file(clinic: Clinic, *, installation: str = INSTALLATION) -> str:
    document = Document(
        licence_id="OFF",
        customer="Clinic Seven",
        installation=installation,
        issued_at=AT,
        valid_from=AT,
        valid_until=AT + timedelta(days=365),
    )
    return sign(document, clinic.odoo.signing, name=SIGNED_BY)


@pytest.mark.parametrize("way", ["file", "-"])
async def test_a_good_file_is_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, way: str
) -> None:
    clinic = Clinic()
    here = settings(
        monkeypatch,
        LICENCE_DIRECTORY=str(tmp_path / "licence"),
        LICENCE_INSTALLATION=INSTALLATION,
        LICENCE_PUBLIC_KEYS=json.dumps({SIGNED_BY: clinic.public}),
    )
    text = a_file(clinic)
    (tmp_path / "brought").write_text(text)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    name = str(tmp_path / "brought") if way == "file" else "-"
    assert await command.run(here, ["install", name]) == 0
    assert "installed OFF Clinic Seven, to 2027-11-26" in capsys.readouterr().out
    assert (tmp_path / "licence" / INSTALLED).read_text().strip() == text


async def test_a_file_of_somebody_else_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clinic = Clinic()
    here = settings(
        monkeypatch,
        LICENCE_DIRECTORY=str(tmp_path / "licence"),
        LICENCE_PUBLIC_KEYS=json.dumps({SIGNED_BY: clinic.public}),
    )
    (tmp_path / "brought").write_text(a_file(clinic))
    with pytest.raises(InvalidLicence, match="another installation"):
        await command.run(here, ["install", str(tmp_path / "brought")])
    with pytest.raises(ConfigurationError, match="No such file"):
        await command.run(here, ["install", str(tmp_path / "none")])
    assert not (tmp_path / "licence").exists()
    assert await command.run(here, ["instal"]) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ODOO_URL": "http://odoo"}, "ODOO_URL"),
        ({"ODOO_URL": "https://user:password@odoo"}, "ODOO_URL"),
        ({"ODOO_URL": "https://odoo"}, "ODOO_URL needs ODOO_API_KEY"),
        ({"ODOO_URL": "https://odoo", "ODOO_API_KEY": "k"}, "LICENCE_PUBLIC_KEYS"),
        ({"LICENCE_FILE": "/a", "ODOO_URL": "https://odoo"}, "either"),
        ({"LICENCE_DAY_ENDS": "06:00"}, "LICENCE_DAY_ENDS"),
        ({"LICENCE_TIME_ZONE": "Mars/Phobos"}, "LICENCE_TIME_ZONE"),
        ({"LICENCE_WORKING_DAYS": "[]"}, "LICENCE_WORKING_DAYS"),
        ({"LICENCE_WORKING_DAYS": "[0]"}, "LICENCE_WORKING_DAYS"),
    ],
)
def test_settings_that_cannot_be_are_named(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        settings(monkeypatch, **given)
