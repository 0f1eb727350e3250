"""Settings of `darkroom up` and its secrets."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.settings import EVERY_INTERFACE
from darkroom_local.stack.keyring import Keyring, KeysLostError
from darkroom_local.stack.layout import SERVICES, Layout, SettingError, Settings
from darkroom_local.stack.plan import Plan, environment
from darkroom_local.stack.state import base_url


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "data")
    made.make()
    return made


@pytest.fixture
def plan(layout: Layout) -> Plan:
    keyring = Keyring(layout)
    keyring.make()
    return Plan(
        settings=Settings(layout.data, dicom_port=104, commitment_port=11113, ae_title="ONE"),
        layout=layout,
        keyring=keyring,
        superuser_url="postgresql://root:hush@db:5/darkroom?sslmode=require",
        amqp_urls=dict.fromkeys(SERVICES, "amqp://u:hush@mq/%2F"),
        health_ports=dict.fromkeys(SERVICES, 7),
    )


@pytest.mark.parametrize("title", ["", "   ", "SEVENTEEN-LETTERS", "BACK\\SLASH", "ÄRZTE"])
def test_an_impossible_ae_title_is_refused(title: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="AE_TITLE"):
        Settings(tmp_path, ae_title=title)


def test_one_port_cannot_be_two(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="DICOM_PORT and DARKROOM_HTTP_PORT are the same"):
        Settings(tmp_path, dicom_port=80, http_port=80)
    with pytest.raises(SettingError, match="HTTP_PORT and DARKROOM_COMMITMENT_PORT are the same"):
        Settings(tmp_path, http_port=81, commitment_port=81)
    assert Settings(tmp_path, dicom_port=11113).commitment_port is None


def test_a_url_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("amqp://x\n")
    monkeypatch.setenv("DARKROOM_AMQP_URL_FILE", str(tmp_path / "url"))
    assert Settings.load(tmp_path, 1, 2, 3, "A").amqp_url == "amqp://x"
    monkeypatch.setenv("DARKROOM_AMQP_URL", "amqp://y")
    with pytest.raises(SettingError, match="both set"):
        Settings.load(tmp_path, 1, 2, 3, "A")


def test_secrets_are_made_once_and_closed_to_others(layout: Layout) -> None:
    keyring = Keyring(layout)
    keyring.make()
    first = {path.name: path.read_text() for path in layout.secrets.iterdir()}
    keyring.make()
    assert {path.name: path.read_text() for path in layout.secrets.iterdir()} == first
    assert layout.secrets.stat().st_mode & 0o777 == 0o700
    files = [*layout.secrets.iterdir(), layout.admin_password]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


@pytest.mark.parametrize("name", ["phi-keys", "audit-keys"])
def test_a_lost_key_is_told_not_replaced(name: str, layout: Layout) -> None:
    keyring = Keyring(layout)
    keyring.make()
    keyring.path(name).unlink()
    with pytest.raises(KeysLostError, match=name):
        keyring.make()


def test_a_directory_from_before_the_audit_gets_its_keys(layout: Layout) -> None:
    keyring = Keyring(layout)
    keyring.make()
    for name in ("audit-keys", "made-audit-keys"):
        keyring.path(name).unlink()
    keyring.make()
    PhiKeys.parse(keyring.path("audit-keys").read_text(), setting="AUDIT_KEYS")


def test_objects_without_keys_are_not_a_first_start(layout: Layout) -> None:
    (layout.objects / "object").touch()
    with pytest.raises(KeysLostError):
        Keyring(layout).make()


def test_a_service_gets_its_own_role_and_only_its_secrets(plan: Plan) -> None:
    command = plan.service("ingest")
    given = command.environment
    url = Path(given["DARKROOM_POSTGRES_URL_FILE"]).read_text()
    password = plan.keyring.role_password("darkroom_ingest")
    assert url == f"postgresql://darkroom_ingest:{password}@db:5/darkroom?sslmode=require"
    assert "DARKROOM_PSEUDONYM_KEY_FILE" in given
    assert "DARKROOM_PHI_KEYS_FILE" in given  # of the index, for C-FIND
    assert "DARKROOM_JWT_KEY_FILE" not in given
    assert given["DARKROOM_DICOM_PORT"] == "104"
    assert not [value for value in given.values() if "hush" in value]


def test_reports_of_storage_commitment_have_a_port_unless_it_is_0(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plan.service("transmit").environment["DARKROOM_COMMITMENT_PORT"] == "11113"
    assert "DARKROOM_COMMITMENT_PORT" not in plan.service("print").environment
    monkeypatch.setenv("DARKROOM_COMMITMENT_PORT", "0")
    closed = replace(plan, settings=replace(plan.settings, commitment_port=0))
    assert "DARKROOM_COMMITMENT_PORT" not in closed.service("transmit").environment


@pytest.mark.parametrize("service", ["transmit", "print"])
def test_scratch_is_beside_the_objects_unless_the_user_has_another(
    plan: Plan, layout: Layout, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plan.service(service).environment["DARKROOM_SCRATCH"] == str(layout.scratch)
    assert layout.scratch.stat().st_mode & 0o777 == 0o700
    assert "DARKROOM_SCRATCH" not in plan.service("api").environment
    monkeypatch.setenv("DARKROOM_SCRATCH", "/elsewhere")
    assert plan.service(service).environment["DARKROOM_SCRATCH"] == "/elsewhere"


def test_the_api_knows_where_the_metrics_are(plan: Plan) -> None:
    targets = json.loads(plan.service("api").environment["DARKROOM_METRICS_TARGETS"])
    assert targets["ingest"] == "http://127.0.0.1:7"
    assert len(targets) == 6


def test_a_users_setting_reaches_the_services_unless_it_is_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DARKROOM_RESERVE_BYTES", "1")
    monkeypatch.setenv("DARKROOM_HEALTH_PORT", "1")
    monkeypatch.setenv("DARKROOM_JWT_KEY", "theirs")
    monkeypatch.setenv("DARKROOM_POSTGRES_URL", "postgresql://x:y@z/d")
    monkeypatch.setenv("UNRELATED_SECRET", "z")
    given = environment({"DARKROOM_HEALTH_PORT": "2", "DARKROOM_JWT_KEY_FILE": "/key"})
    assert given["DARKROOM_RESERVE_BYTES"] == "1"
    assert given["DARKROOM_HEALTH_PORT"] == "2"
    assert "DARKROOM_JWT_KEY" not in given
    assert "DARKROOM_POSTGRES_URL" not in given
    assert "UNRELATED_SECRET" not in given


def test_one_machine_keeps_to_itself_unless_it_is_told_otherwise(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DARKROOM_HTTP_HOST", "DARKROOM_UNKNOWN_AE"):
        monkeypatch.delenv(name, raising=False)
    assert Settings.load(tmp_path, 1, 2, 3, "A").http_host == "127.0.0.1"
    assert plan.service("api").environment["DARKROOM_HTTP_HOST"] == "127.0.0.1"
    assert plan.service("ingest").environment["DARKROOM_UNKNOWN_AE"] == "nearby"
    assert plan.service("ingest").environment["DARKROOM_HEALTH_HOST"] == "127.0.0.1"
    told = replace(plan, settings=replace(plan.settings, http_host=EVERY_INTERFACE))
    assert told.service("api").environment["DARKROOM_HTTP_HOST"] == EVERY_INTERFACE
    monkeypatch.setenv("DARKROOM_HTTP_HOST", "10.0.0.5")
    assert Settings.load(tmp_path, 1, 2, 3, "A").http_host == "10.0.0.5"
    monkeypatch.setenv("DARKROOM_UNKNOWN_AE", "reject")
    assert plan.service("ingest").environment["DARKROOM_UNKNOWN_AE"] == "reject"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        (EVERY_INTERFACE, "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("10.0.0.5", "http://10.0.0.5:8080"),
    ],
)
def test_the_api_is_reached_where_it_listens(host: str, url: str) -> None:
    assert base_url(host, 8080) == url


def test_receiving_goes_before_every_other_service(plan: Plan) -> None:
    nice = {name: plan.service(name).nice for name in SERVICES}
    assert nice.pop("ingest") == 0
    assert min(nice.values()) > 0
