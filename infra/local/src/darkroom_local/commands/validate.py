"""`darkroom validate`: holds DICOM files against the standard; nothing need run for it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from darkroom_common.dicom.walk import Unreadable
from darkroom_common.validation.validate import validate as validated

Files = Annotated[list[Path], typer.Argument(help="DICOM files.", exists=True, dir_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="A line of JSON for each file.")]


def validate(files: Files, *, as_json: AsJson = False) -> None:
    """Hold DICOM files against the standard: modules of the IOD, values, pixel data.

    Exit code 0: no errors; 1: errors; 2: a file that cannot be read.
    """
    code = 0
    for path in files:
        try:
            with path.open("rb") as file:
                report = validated(file).to_json()
        except (Unreadable, OSError) as error:
            typer.echo(f"darkroom: {path}: {error}", err=True)
            code = 2
            continue
        if report["errors"]:
            code = max(code, 1)
        if as_json:
            typer.echo(json.dumps({"file": str(path), **report}))
        else:
            _tell(path, report)
    raise typer.Exit(code)


def _tell(path: Path, report: dict[str, Any]) -> None:
    iod = report["iod"] or "of no known IOD"
    typer.echo(f"{path}: {iod}, {report['errors']} errors, {report['warnings']} warnings")
    for one in report["findings"]:
        what = one["keyword"] or one["tag"] or ""
        where = ".".join((*one["path"], what))
        times = f" ({one['count']} times)" if one["count"] > 1 else ""
        said = f"{one['severity']}: {one['module']}: {where}: {one['message']}{times}"
        typer.echo(f"  {said} [{one['section']}]")
    if report["more"]:
        typer.echo(f"  and {report['more']} more")
    if report["unchecked"]:
        typer.echo(f"  not checked: {len(report['unchecked'])} (--json lists them)")
