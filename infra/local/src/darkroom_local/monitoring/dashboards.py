"""Writes the dashboards as Grafana loads them: `make dashboards`."""

import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos

from darkroom_local.monitoring.panels import DASHBOARDS, Panel, asked

REFRESH: Final = "1m"
_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH: Final = 8
_HEIGHT: Final = 7
_ACROSS: Final = 3


def name_of(title: str) -> str:
    """Return the name of a dashboard's file, which is its uid too."""
    return "darkroom-" + title.lower().replace(" ", "-")


def _panel(panel: Panel, number: int) -> stat.Panel | timeseries.Panel:
    place = GridPos(h=_HEIGHT, w=_WIDTH, x=number % _ACROSS * _WIDTH, y=number // _ACROSS * _HEIGHT)
    told = "\n\n".join(f"`{row.name}`: {row.text}" for row in panel.metrics)
    made: stat.Panel | timeseries.Panel
    if panel.now:
        made = stat.Panel()
    else:
        legend = (
            common.VizLegendOptions()
            .show_legend(show_legend=True)
            .placement(LegendPlacement.BOTTOM)
        )
        made = timeseries.Panel().legend(legend.display_mode(LegendDisplayMode.LIST))
    made = made.title(panel.title).description(told).unit(panel.grafana_unit)
    made = made.id(number + 1).datasource(_SOURCE).grid_pos(place)
    for letter, (expression, legend_format) in zip("ABCDEF", panel.shows, strict=False):
        query = prometheus.Dataquery().expr(asked(expression)).legend_format(legend_format)
        made = made.with_target(query.ref_id(letter).datasource(_SOURCE))
    return made


def render(title: str) -> str:
    """Return a dashboard as JSON."""
    made = (
        dashboard.Dashboard(f"Darkroom: {title}")
        .uid(name_of(title))
        .tags(["darkroom"])
        .refresh(REFRESH)
        .time("now-6h", "now")
        .readonly()
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
    )
    for number, panel in enumerate(DASHBOARDS[title]):
        made = made.with_panel(_panel(panel, number))
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for one in DASHBOARDS:
        (folder / f"{name_of(one)}.json").write_text(render(one), encoding="utf-8")
