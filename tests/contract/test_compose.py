"""compose.yaml and the script that makes its secrets."""

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr

from darkroom_common.amqp.address import require_checked
from darkroom_common.amqp.definitions import render_definitions
from darkroom_common.postgres.bootstrap import ROLES
from darkroom_common.postgres.phi import PhiKeys, decode_key
from darkroom_common.settings import Settings
from tests.support.deployed import (
    LESS_THAN,
    ROOT,
    SERVICES,
    SETTINGS,
    WITH_SCHEMA,
    WITH_WORKERS,
    check_environment,
    command_settings,
    memory_needed,
)

COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())
CONTAINERS: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
ENGINES: Final = ("postgres", "rabbitmq")
MONITORING: Final = ("prometheus", "alertmanager", "grafana")
COMMANDS: Final = ("backup", "ship")
"""What runs on request, by a profile."""
WITH_CERTIFICATE: Final = (*SERVICES, *ENGINES, *MONITORING)
INNER: Final = "${DARKROOM_SECRETS:-./secrets}/tls/%s:/run/inner-tls:ro"
ONE_SHOTS: Final = tuple(
    name for name, c in CONTAINERS.items() if c["restart"] == "no" and "profiles" not in c
)
SCRIPT: Final = ROOT / "infra" / "compose" / "secrets.sh"


def environment(name: str) -> dict[str, str]:
    """Of a container; a variable without a value is absent unless somebody sets it."""
    given = CONTAINERS[name].get("environment", {}).items()
    return {k: default(str(v)) for k, v in given if v is not None}


def default(text: str) -> str:
    """Return what a value is unless somebody sets its variable."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def size(text: str) -> int:
    """Return the bytes that `512m` or `2g` are."""
    found = re.fullmatch(r"(\d+)([mg])", default(text))
    assert found, text
    return int(found[1]) << {"m": 20, "g": 30}[found[2]]


def seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return int(match[1])


@pytest.mark.req("DEP-02")
def test_there_is_a_container_for_each_service_engine_and_preparation() -> None:
    wanted = {*SERVICES, *ENGINES, *MONITORING, "bootstrap", "definitions", *COMMANDS}
    assert set(CONTAINERS) == wanted | {f"migrate-{name}" for name in WITH_SCHEMA}


def test_receiving_goes_before_every_other_service() -> None:
    shares = {name: CONTAINERS[name]["cpu_shares"] for name in SERVICES}
    assert shares.pop("ingest") > max(shares.values())


@pytest.mark.req("DEP-03")
@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_hardened(name: str) -> None:
    container = CONTAINERS[name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert "cap_add" not in container
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["pids_limit"] > 0
    assert container["mem_limit"]
    assert "privileged" not in container
    assert any(mount.startswith("/tmp:") for mount in container["tmpfs"])
    assert container.get("user", "10001") != "root"
    assert container.get("network_mode") is None


def test_only_dicom_orders_reports_and_http_are_published() -> None:
    published = {name: c["ports"] for name, c in CONTAINERS.items() if "ports" in c}
    assert published == {
        "ingest": [
            "${DARKROOM_DICOM_BIND:-0.0.0.0}:${DARKROOM_DICOM_PORT:-11112}:11112",
            "${DARKROOM_DICOM_BIND:-0.0.0.0}:${DARKROOM_DICOM_TLS_PORT:-2762}:2762",
            "${DARKROOM_DICOM_BIND:-0.0.0.0}:${DARKROOM_HL7_PUBLISHED:-2575}:2575",
        ],
        "transmit": ["${DARKROOM_DICOM_BIND:-0.0.0.0}:${DARKROOM_COMMITMENT_PORT:-11113}:11113"],
        "api": ["${DARKROOM_HTTP_BIND:-127.0.0.1}:${DARKROOM_HTTP_PORT:-8080}:8080"],
        "grafana": ["127.0.0.1:${DARKROOM_GRAFANA_PORT:-3000}:3000"],
    }


def test_the_engines_have_no_way_out() -> None:
    assert COMPOSE["networks"]["engines"] == {"internal": True}
    assert {name for name, c in CONTAINERS.items() if c["networks"] != ["engines"]} == (
        set(SERVICES) - {"metadata"} | {"alertmanager", "grafana", *COMMANDS}
    )


@pytest.mark.parametrize("name", SERVICES)
def test_settings_are_those_of_the_service(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = check_environment(SETTINGS[name], environment(name), tmp_path, monkeypatch)
    assert isinstance(loaded, Settings)
    assert loaded.health_host == "0.0.0.0"
    assert seconds(CONTAINERS[name]["stop_grace_period"]) > loaded.drain_seconds + 10
    open_ones = {k for k, v in CONTAINERS[name]["environment"].items() if v is None}
    fields = set(SETTINGS[name].model_fields)
    names = {k.removeprefix("DARKROOM_").lower() for k in open_ones}
    assert {k if k in fields else k.removesuffix("_file") for k in names} <= fields


@pytest.mark.parametrize("name", ONE_SHOTS)
def test_settings_are_those_of_the_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = CONTAINERS[name]
    words = [*container.get("entrypoint", ["python"])[1:], *container.get("command", [])]
    check_environment(command_settings(words), environment(name), tmp_path, monkeypatch)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_has_the_secrets_that_its_environment_names_and_no_other(name: str) -> None:
    files = [v for k, v in environment(name).items() if k.endswith("_FILE")]
    named = {Path(file).name for file in files if file.startswith("/run/secrets/")}
    assert named == set(CONTAINERS[name].get("secrets", []))
    assert all(COMPOSE["secrets"][secret] for secret in named)
    assert not any("://" in v and "@" in v for v in environment(name).values())


def test_parameters_of_statements_are_never_logged() -> None:
    command = CONTAINERS["postgres"]["command"]
    for setting in (
        "log_parameter_max_length=0",
        "log_parameter_max_length_on_error=0",
        "log_min_error_statement=panic",
        "log_error_verbosity=terse",
    ):
        assert f"-c{setting}" in command


def test_ingest_waits_for_nothing_and_the_others_for_their_schema() -> None:
    assert "depends_on" not in CONTAINERS["ingest"]
    for name in set(WITH_SCHEMA) - {"ingest"}:
        done = CONTAINERS[name]["depends_on"][f"migrate-{name}"]
        assert done == {"condition": "service_completed_successfully"}
    assert "migrate-metadata" in CONTAINERS["api"]["depends_on"]


@pytest.mark.parametrize("name", [*SERVICES, *(f"migrate-{name}" for name in WITH_SCHEMA)])
def test_each_runs_its_own_image(name: str) -> None:
    service = name.removeprefix("migrate-")
    assert CONTAINERS[name]["image"] == (
        f"${{DARKROOM_REGISTRY:-darkroom}}/{service}:${{DARKROOM_VERSION:-0.1.0}}"
    )
    if name == service:
        assert CONTAINERS[name]["build"]["args"]["SERVICE"] == service


def test_only_ingest_and_metadata_write_objects() -> None:
    mounts = {name: c.get("volumes", []) for name, c in CONTAINERS.items()}
    target = "objects:/var/lib/darkroom/objects"
    assert [name for name, volumes in mounts.items() if target in volumes] == ["ingest", "metadata"]
    readers = {name for name, volumes in mounts.items() if f"{target}:ro" in volumes}
    assert readers == set(SERVICES) - {"ingest", "metadata", "licensing"} | {*COMMANDS}


@pytest.mark.req("STO-05")
def test_a_backup_is_made_on_demand_with_the_settings_that_the_command_reads() -> None:
    container = CONTAINERS["backup"]
    assert container["profiles"] == ["backup"]
    assert container["image"].startswith("${DARKROOM_REGISTRY:-darkroom}/local:")
    assert container["build"]["args"]["SERVICE"] == "local"
    assert default(container["command"][1]) in {
        default(mount).split(":")[1] for mount in container["volumes"]
    }
    read = {"STORE_URL", "POSTGRES_URL_FILE", "PHI_KEYS_FILE", "BACKUP_KEYS_FILE"}
    assert set(container["environment"]) == {f"DARKROOM_{name}" for name in read}
    source = (ROOT / "infra/local/src/darkroom_local").rglob("*.py")
    text = "".join(path.read_text() for path in source)
    assert all(f"DARKROOM_{name.removesuffix('_FILE')}" in text for name in read)


@pytest.mark.parametrize("name", ["transmit", "print"])
def test_scratch_is_a_volume_on_disk_of_its_own(name: str) -> None:
    scratch = environment(name)["DARKROOM_SCRATCH"]
    assert f"scratch-{name}:{scratch}" in CONTAINERS[name]["volumes"]
    assert f"scratch-{name}" in COMPOSE["volumes"]
    owned = re.search(r"install -d -o 10001 (.*\n){2}", (ROOT / "Dockerfile").read_text())
    assert owned is not None
    assert scratch in owned[0].split()  # whose owner a new volume takes


@pytest.mark.parametrize("name", ["ingest", "transmit", "print"])
def test_certificates_are_in_one_directory_that_is_only_read(name: str) -> None:
    assert "${DARKROOM_TLS:-./tls}:/run/tls:ro" in CONTAINERS[name]["volumes"]
    asked = CONTAINERS[name]["environment"]
    assert {"DARKROOM_DICOM_TLS_CERTIFICATE", "DARKROOM_DICOM_TLS_KEY"} <= set(asked)


@pytest.mark.parametrize("name", WITH_WORKERS)
def test_workers_get_their_memory_error_before_the_container_is_killed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = check_environment(SETTINGS[name], environment(name), tmp_path, monkeypatch)
    limit = CONTAINERS[name]["mem_limit"]
    assert limit.startswith(f"${{DARKROOM_{name.upper()}_MEMORY:-") or name == "metadata"
    (tmp,) = CONTAINERS[name]["tmpfs"]  # counted, too
    assert size(limit) >= memory_needed(settings) + size(tmp.rpartition("size=")[2])


@pytest.mark.req("DEP-09")
def test_every_container_has_less_than_four_gigabytes() -> None:
    for name, container in CONTAINERS.items():
        assert size(container["mem_limit"]) < LESS_THAN, name


def texts(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir() if path.is_file()}


def run_script(directory: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SCRIPT, directory], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("compose") / "secrets"
    assert run_script(directory).returncode == 0
    return directory


@pytest.fixture
def directory(made_once: Path, tmp_path: Path) -> Path:
    """What the script has made, to be changed."""
    return shutil.copytree(made_once, tmp_path / "secrets")


def test_the_script_makes_every_secret_and_changes_none(directory: Path) -> None:
    made = texts(directory)
    assert set(made) == set(COMPOSE["secrets"])
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert all(not path.stat().st_mode & 0o222 for path in directory.iterdir() if path.is_file())

    again = run_script(directory)
    assert again.returncode == 0
    assert texts(directory) == made
    (directory / "phi-keys").unlink()
    refused = run_script(directory)
    assert refused.returncode == 1
    assert "phi-keys is gone" in refused.stderr
    assert not (directory / "phi-keys").exists()


def test_the_secrets_are_of_the_form_that_services_take(made_once: Path) -> None:
    made = texts(made_once)
    PhiKeys.parse(made["phi-keys"])
    PhiKeys.parse(made["audit-keys"], setting="AUDIT_KEYS")
    for name in ("blind-index-key", "pseudonym-key", "jwt-key"):
        decode_key(made[name], setting=name)
    passwords = json.loads(made["role-passwords"])
    assert set(passwords) == set(ROLES)
    for service in SERVICES:
        url = urlsplit(made[f"postgres-url-{service}"])
        assert (url.username, url.password) == (f"darkroom_{service}", passwords[url.username])
        assert (url.hostname, url.path) == ("postgres", "/darkroom")
    assert urlsplit(made["migration-url"]).password == passwords["darkroom_migrate"]
    assert urlsplit(made["superuser-url"]).password == made["postgres-password"]
    users = render_definitions(json.loads(made["amqp-passwords"]))["users"]
    for service, user in zip(SERVICES, users, strict=True):
        broker = require_checked(SecretStr(made[f"amqp-url-{service}"])).get_secret_value()
        assert urlsplit(broker).username == user["name"]
        assert urlsplit(broker).password == json.loads(made["amqp-passwords"])[user["name"]]
        assert broker.endswith("@rabbitmq:5671/?cafile=/run/inner-tls/ca.pem")
        assert made[f"postgres-url-{service}"].endswith(
            "?sslmode=verify-full&sslrootcert=/run/inner-tls/ca.pem"
        )
    assert len(set(made.values())) == len(made)


def test_what_an_earlier_release_has_made_is_given_tls_and_users(directory: Path) -> None:
    before = texts(directory)
    for path in directory.glob("*url*"):
        path.chmod(0o600)
        path.write_text(path.read_text().partition("?")[0] + "?sslmode=disable")
    for path in (*directory.glob("amqp-*"), directory / "grafana-password"):
        path.unlink()
    shutil.rmtree(directory / "tls")
    assert run_script(directory).returncode == 0
    after = texts(directory)
    assert set(after) == set(before)
    made_anew = {name for name in after if after[name] != before[name]}
    assert made_anew == {name for name in after if name.startswith(("amqp-", "grafana-"))}


def test_certificates_name_their_container_and_are_renewed_in_time(tmp_path: Path) -> None:
    script = SCRIPT.with_name("certificates.sh")

    def run(*words: str) -> str:
        done = subprocess.run(
            [script, tmp_path / "tls", *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**os.environ, "DARKROOM_NAMES": "pacs.example,10.1.2.3"},
        )
        return done.stdout

    assert run().count("made one for") == len(WITH_CERTIFICATE)
    ca = x509.load_pem_x509_certificate((tmp_path / "tls" / "authority" / "ca.pem").read_bytes())
    for owner in WITH_CERTIFICATE:
        place = tmp_path / "tls" / owner
        shown = x509.load_pem_x509_certificate((place / "tls.pem").read_bytes())
        shown.verify_directly_issued_by(ca)
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        named = names.get_values_for_type(x509.DNSName)
        assert {owner, "localhost"} <= set(named)
        assert ("pacs.example" in named) is (owner in {"api", "ingest", "grafana"})
        assert (place / "ca.pem").read_bytes() == ca.public_bytes(serialization.Encoding.PEM)
    assert run() == ""
    (tmp_path / "tls" / "print" / "tls.key").unlink()
    assert run() == "darkroom certificates: made one for print\n"
    assert run("--every").count("made one for") == len(WITH_CERTIFICATE)


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_link_is_over_tls(name: str) -> None:
    container = CONTAINERS[name]
    mounts = [mount for mount in container.get("volumes", []) if "/run/inner-tls" in mount]
    if name in WITH_CERTIFICATE:
        assert mounts == [INNER % name]
    told = environment(name)
    if name in SERVICES:
        assert {f"DARKROOM_TLS_{what}" for what in ("CERTIFICATE", "KEY", "CA")} <= set(told)
    assert not any(v.startswith(("http://", "amqp://")) for v in told.values())
    broker = (ROOT / "infra" / "compose" / "rabbitmq.conf").read_text()
    assert "listeners.tcp = none\n" in broker
    database = CONTAINERS["postgres"]["command"]
    assert {"-cssl=on", "-chba_file=/run/postgresql/pg_hba.conf"} <= set(database)
    rules = re.findall(r"'(local .*)' >", (SCRIPT.with_name("postgres.sh")).read_text())
    assert rules == [
        r"local all all scram-sha-256\nhostssl all,replication all all scram-sha-256\n"
    ]
