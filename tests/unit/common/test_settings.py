"""Settings come from the environment or from files, and errors never show a secret."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from darkroom_common.errors import ConfigurationError
from darkroom_common.postgres.bootstrap import BootstrapSettings
from darkroom_common.postgres.phi import BlindIndex, PhiKeys, decode_key, normalise
from darkroom_common.settings import MigrationSettings, Settings
from darkroom_ingest.settings import IngestSettings

URLS = {"DARKROOM_POSTGRES_URL": "postgresql://localhost", "DARKROOM_AMQP_URL": "amqp://localhost"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in URLS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_a_file_gives_the_value(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("amqps://from-a-file\n")
    environment.delenv("DARKROOM_AMQP_URL")
    environment.setenv("DARKROOM_AMQP_URL_FILE", str(secret))
    assert Settings.load().amqp_url == SecretStr("amqps://from-a-file")


@pytest.mark.parametrize("settings", [Settings, BootstrapSettings, MigrationSettings])
def test_a_level_of_the_log_is_taken_in_either_case(
    settings: type[Settings], environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("DARKROOM_MIGRATION_URL", "postgresql://localhost")
    environment.setenv("DARKROOM_SUPERUSER_URL", "postgresql://localhost")
    environment.setenv("DARKROOM_ROLE_PASSWORDS", "{}")
    environment.setenv("DARKROOM_LOG_LEVEL", "debug")
    assert settings.load().log_level == "DEBUG"
    environment.setenv("DARKROOM_LOG_LEVEL", "loud")
    with pytest.raises(ConfigurationError, match="LOG_LEVEL"):
        settings.load()


def test_both_at_once_is_an_error(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("DARKROOM_AMQP_URL_FILE", str(tmp_path / "any"))
    with pytest.raises(ConfigurationError, match="both"):
        Settings.load()


def test_a_file_that_is_not_there_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.delenv("DARKROOM_AMQP_URL")
    environment.setenv("DARKROOM_AMQP_URL_FILE", str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match="cannot read"):
        Settings.load()


def test_what_is_wrong_is_named_and_not_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DARKROOM_HEALTH_PORT", "hunter2")
    environment.delenv("DARKROOM_AMQP_URL")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert "DARKROOM_HEALTH_PORT" in str(caught.value)
    assert "DARKROOM_AMQP_URL" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_database_that_could_be_anybody_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DARKROOM_POSTGRES_URL", "postgresql://role:hunter2@db/darkroom")
    with pytest.raises(ConfigurationError, match="verify-full") as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)


def test_lists_are_json_in_both_forms(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "SPOOL": str(tmp_path),
        "STORE_URL": "file:///x",
        "PSEUDONYM_KEY": "k",
    }.items():
        environment.setenv(f"DARKROOM_{name}", value)
    environment.setenv("DARKROOM_PRIVATE_SOP_CLASSES", '["1.2.3"]')
    assert IngestSettings.load().private_sop_classes == ("1.2.3",)
    environment.delenv("DARKROOM_PRIVATE_SOP_CLASSES")
    listed = tmp_path / "classes"
    listed.write_text('["1.2.4"]\n')
    environment.setenv("DARKROOM_PRIVATE_SOP_CLASSES_FILE", str(listed))
    assert IngestSettings.load().private_sop_classes == ("1.2.4",)


KEY = "A" * 43 + "="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"current": 2, "keys": {"1": "' + KEY + '"}}',
        '{"current": 1, "keys": {"1": "c2hvcnQ="}}',
        '{"current": 0, "keys": {"0": "' + KEY + '"}}',
        '{"current": 1, "keys": ["x"]}',
    ],
)
def test_wrong_keys_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PhiKeys.parse(text)
    assert "c2hvcnQ=" not in str(caught.value)


def test_keys_are_found_by_id_in_sql() -> None:
    keys = PhiKeys.parse('{"current": 3, "keys": {"1": "' + KEY + '", "3": "' + KEY + '"}}')
    assert keys.by_id() == [KEY, "", KEY]
    assert KEY not in repr(keys)


def test_a_key_is_32_bytes() -> None:
    assert len(decode_key(KEY, setting="X")) == 32
    with pytest.raises(ConfigurationError, match="X"):
        decode_key("nonsense", setting="X")


def wide(text: str) -> str:
    """Return ASCII in full width."""
    return "".join("\u3000" if c == " " else chr(ord(c) + 0xFEE0) for c in text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Müller^Jörg ", "muller^jorg"),
        ("DOE^JANE^^", "doe^jane"),
        ("  a   b ", "a b"),
        ("Straße", "strasse"),
        ("山田^太郎", "山田^太郎"),
        ("Łukasz Ørsted Đoković Æsir", "lukasz orsted dokovic aesir"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ", "やまだ^たろう"),
        ("ヤマダ^タロウ", "やまだ^たろう"),
        ("はだ", "はだ"),
        (wide("ABC 12"), "abc 12"),
        ("홍^길동", "홍^길동"),
        ("葛\U000e0100城", "葛城"),
        ("ชื่น", "ชื่น"),
        ("İSTANBUL^IŞIK", "istanbul^isik"),
        ("Ёлкин", "елкин"),
        ("\ufeffDoe\u200b^J\u00adane", "doe^jane"),
    ],
)
def test_values_are_compared_without_case_and_diacritics(value: str, expected: str) -> None:
    assert normalise(value) == expected


@given(st.text(max_size=12))
def test_a_value_that_is_normal_stays_so(value: str) -> None:
    assert normalise(normalise(value)) == normalise(value)


def test_tokens_tell_fields_and_keys_apart() -> None:
    one, other = BlindIndex(b"1" * 32), BlindIndex(b"2" * 32)
    assert one.exact("PatientName", "DOE^JANE") in one.tokens("PatientName", "Doe^Jane")
    assert one.prefix("PatientName", "ja") in one.tokens("PatientName", "Doe^Jane")
    assert one.prefix("PatientName", "an") not in one.tokens("PatientName", "Doe^Jane")
    assert not one.tokens("PatientName", "x") & one.tokens("PatientID", "x")
    assert not one.tokens("PatientName", "x") & other.tokens("PatientName", "x")
    assert one.tokens("PatientName", " ^ ") == set()
