"""What services show under /metrics, held to the table of metrics."""

import re
import shutil
import subprocess
from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.metrics.rows import Label

FOREIGN = ("process", "python_info", "python_gc")


def differences(service: str, text: str) -> list[str]:
    """What a service shows and the table does not say, or the other way round; none is good."""
    shown = {family.name: family for family in text_string_to_metric_families(text)}
    due = {name for name, row in metrics.rows().items() if service in row.services}
    ours = {name for name in shown if not name.startswith(FOREIGN)}
    found = [f"{service} does not show {name}" for name in sorted(due - ours)]
    found += [f"{service} shows {name}" for name in sorted(ours - due)]
    for name in sorted(due & ours):
        found += _values(service, shown[name], metrics.rows()[name].labels)
    return found


def _values(service: str, family: Metric, labels: Iterable[Label]) -> Iterable[str]:
    of_table = {label.name: label for label in labels}
    for sample in family.samples:
        given = {key: value for key, value in sample.labels.items() if key != "le"}
        if set(given) != set(of_table):
            yield f"{service}: labels of {sample.name}: {sorted(given)}"
        for key, value in given.items():
            label = of_table.get(key)
            if label is None or (label.values and value in label.values):
                continue
            if label.values or not re.fullmatch(label.pattern, value):
                yield f'{service}: {sample.name}{{{key}="{value}"}}'


def promtool_check(text: str) -> str:
    """What promtool says of a page of metrics; empty: nothing."""
    promtool = shutil.which("promtool")
    assert promtool, "promtool is of the package prometheus: infra/local/bootstrap.sh test"
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr
