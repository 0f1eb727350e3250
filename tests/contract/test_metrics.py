"""The table of metrics: the page is made of it, and nothing is counted beside it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from darkroom_common.messages.registry import MESSAGE_TYPES
from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.metrics import page
from darkroom_common.telemetry.metrics.rows import SERVICES, Row, Rows, one_of
from tests.support.deployed import ROOT

TABLE: Final = "libs/common/src/darkroom_common/telemetry/metrics"
_MAKERS: Final = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}
_OF_NAMES: Final = re.compile(r"patient|person|birth|accession|study|series|sop|instance_uid|user")


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("libs", "services", "infra"):
        for path in sorted((ROOT / folder).rglob("src/**/*.py")):
            text = path.read_text(encoding="utf-8")
            if re.search(r"prometheus_client|telemetry.metrics|Rows", text):
                yield path.relative_to(ROOT).as_posix(), ast.parse(text)


def test_the_page_is_made_of_the_table() -> None:
    made = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert made == page.render(), "make metrics"


def test_nothing_else_makes_metrics() -> None:
    makers = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("prometheus_client")
        and _MAKERS & {one.name for one in node.names}
    }
    assert makers == {f"{TABLE}/rows.py"}
    users = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module == f"{metrics.__name__}.rows"
        and "Rows" in {one.name for one in node.names}
    }
    assert {str(Path(name).parent) for name in users} == {TABLE}


def test_a_service_counts_only_what_it_shows() -> None:
    by_metric = {id(row.metric): row for row in metrics.rows().values()}
    looked_at = 0
    for name, tree in sources():
        service = name.split("/")[1]
        if not name.startswith("services/"):
            continue
        modules = {
            one.asname or one.name: one.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and node.module == "darkroom_common.telemetry.metrics"
            for one in node.names
        }
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(value=ast.Name(id=owner), attr=attr) if owner in modules:
                    counted = getattr(getattr(metrics, modules[owner]), attr)
                    assert service in by_metric[id(counted)].services, f"{name}: {attr}"
                    looked_at += 1
    assert looked_at > 60


def test_names_and_labels_are_what_prometheus_and_privacy_ask_for() -> None:
    for row in metrics.rows().values():
        assert re.fullmatch(r"darkroom_[a-z0-9_]+", row.name)
        assert row.name.endswith("_total") == (row.kind == "counter"), row.name
        assert row.services, row.name
        assert set(row.services) <= set(SERVICES)
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)\b", row.name)
        for label in row.labels:
            assert not _OF_NAMES.search(label.name), f"{row.name}: {label.name}"
            assert label.values or label.bound, f"{row.name}: {label.name}"


def combinations(row: Row) -> int:
    number = 1
    for label in row.labels:
        number *= len(label.values) or 1
    return number


def test_what_is_known_beforehand_begins_with_nothing_counted() -> None:
    known = [
        row
        for row in metrics.rows().values()
        if row.kind == "counter" and row.labels and all(label.values for label in row.labels)
    ]
    assert len(known) >= 8
    for row in known:
        assert len(row.metric._metrics) >= min(combinations(row), 1), row.name


def test_rows_of_unknown_services_are_refused() -> None:
    with pytest.raises(ValueError, match="nobody"):
        Rows("nobody")
    label = one_of("state", "on", "off")
    assert label.values == ("on", "off")


def test_types_of_messages_are_what_labels_say() -> None:
    pattern = metrics.common.PUBLISHED
    row = metrics.rows()["darkroom_amqp_published"]
    assert row.metric is pattern
    assert all(re.fullmatch(row.labels[0].pattern, name) for name in MESSAGE_TYPES)
