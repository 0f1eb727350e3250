"""Draws the dashboards: `python -m darkroom_local.monitoring.pictures URL FOLDER [SECONDS]`.

Where no Grafana runs: the same expressions, the same titles and units, for docs/dashboards.md.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx
import matplotlib as mpl
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from darkroom_common.clock import wall_seconds
from darkroom_local.monitoring.dashboards import name_of
from darkroom_local.monitoring.panels import DASHBOARDS, Panel, asked

Series: TypeAlias = list[tuple[str, list[tuple[float, float]]]]
"""Legend, and the points: seconds before now, value."""
_ACROSS: Final = 3
_STEPS: Final = 60
_LINES: Final = 8
_DPI: Final = 72
_SCALES: Final = (("G", 1e9), ("M", 1e6), ("k", 1e3))
_SUFFIX: Final = {
    "percent": " %",
    "s": " s",
    "d": " d",
    "ops": "/s",
    "reqps": "/s",
    "bytes": "B",
    "Bps": "B/s",
}


def legend(form: str, labels: Mapping[str, str]) -> str:
    """Return a legend with the values of labels in it, as Grafana makes it."""
    for name, value in labels.items():
        form = form.replace("{{" + name + "}}", value)
    return re.sub(r"{{\w+}}", "", form).strip() or "none"


def number(value: float, unit: str) -> str:
    """Return a value with its unit, shortened."""
    for letter, scale in _SCALES:
        if abs(value) >= scale and unit not in {"s", "d", "percent"}:
            return f"{value / scale:.3g} {letter}{_SUFFIX.get(unit, '')}"
    return f"{value:.3g}{_SUFFIX.get(unit, '')}"


def fetch(client: httpx.Client, url: str, panel: Panel, seconds: float) -> Series:
    """Return what a panel shows of the last seconds.

    Raises:
        httpx.HTTPError: Prometheus does not answer, or not to this.
    """
    end, found = wall_seconds(), []
    for expression, form in panel.shows:
        given: dict[str, str | float] = {
            "query": asked(expression),
            "start": end - seconds,
            "end": end,
            "step": max(1.0, seconds / _STEPS),
        }
        answer = client.get(f"{url}/api/v1/query_range", params=given).raise_for_status()
        for one in answer.json()["data"]["result"]:
            points = [(float(at) - end, float(value)) for at, value in one["values"]]
            found.append((legend(form, one["metric"]), points))
    return found


def draw(axes: Axes, panel: Panel, series: Series) -> None:
    """Draw a panel."""
    axes.set_title(panel.title, fontsize=10, loc="left", fontweight="bold")
    most = sorted(series, key=lambda one: -max((abs(value) for _, value in one[1]), default=0.0))
    if panel.now:
        _draw_now(axes, panel, sorted(series))
        return
    for name, points in most[:_LINES]:
        axes.plot([at for at, _ in points], [value for _, value in points], label=name, lw=1.3)
    axes.yaxis.set_major_formatter(
        ticker.FuncFormatter(lambda value, _: number(value, panel.grafana_unit))
    )
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda at, _: f"{at:g} s"))
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    if series:
        more = len(most) - _LINES
        title = f"and {more} more" if more > 0 else None
        axes.legend(fontsize=6.5, loc="upper left", title=title, title_fontsize=6.5)
    else:
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes)


def _draw_now(axes: Axes, panel: Panel, series: Series) -> None:
    axes.axis("off")
    rows: Sequence[tuple[str, list[tuple[float, float]]]] = series[:9]
    for place, (name, points) in enumerate(rows):
        height = 0.9 - place * 0.11
        axes.text(0.02, height, name, fontsize=9, transform=axes.transAxes, va="center")
        value = number(points[-1][1], panel.grafana_unit)
        style: Any = {"fontsize": 11, "fontweight": "bold", "ha": "right", "va": "center"}
        axes.text(0.98, height, value, transform=axes.transAxes, **style)


def draw_all(url: str, folder: Path, seconds: float) -> list[Path]:
    """Draw every dashboard into a file of a folder; return the files.

    Raises:
        httpx.HTTPError: Prometheus does not answer.
    """
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with httpx.Client(timeout=20) as client:
        for title, panels in DASHBOARDS.items():
            down = -(-len(panels) // _ACROSS)
            figure = Figure(figsize=(15, 2.9 * down), layout="constrained")
            places: Any = figure.subplots(down, _ACROSS, squeeze=False)
            flat = [axes for row in places for axes in row]
            for axes, panel in zip(flat, panels, strict=False):
                draw(axes, panel, fetch(client, url, panel, seconds))
            for axes in flat[len(panels) :]:
                axes.axis("off")
            figure.suptitle(f"Darkroom: {title}", fontsize=13, x=0.01, ha="left")
            made.append(folder / f"{name_of(title)}.png")
            figure.savefig(made[-1], dpi=_DPI)
    return made


if __name__ == "__main__":
    draw_all(sys.argv[1], Path(sys.argv[2]), float((*sys.argv[3:], "3600")[0]))
