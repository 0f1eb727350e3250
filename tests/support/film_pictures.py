"""Writes the films of docs/print from public test images (run with `python -m`)."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image as Pillow
from pydicom import dcmread

from darkroom_common.films.profiles import Profile, profiles
from darkroom_common.pixels.window import Window
from darkroom_common.specs.films import FilmOrder
from darkroom_print.composing.compose import compose
from darkroom_print.images.picture import Picture
from darkroom_print.planning.plan import plan
from darkroom_print.preview import png
from tests.support.real_files import REAL_FILES

FOLDER: Final = Path(__file__).parents[2] / "docs" / "print"
EDGES: Final = (700, 640, 600, 560)
LEVELS: Final = 64
MOST_BYTES: Final = 120_000
HEADER: Final = "{PatientName}   {PatientID}   {PatientBirthDate}\n{StudyDate}   {StudyDescription}"
FOOTER: Final = "{InstitutionName}   {Modality}   not for diagnosis"
INVENTED: Final = {
    "PatientName": "Muster^Erika",
    "PatientID": "PID-0042",
    "PatientBirthDate": "19700101",
    "StudyDate": "20250314",
    "InstitutionName": "Sample Hospital",
    "AccessionNumber": "",
}
SOFT_TISSUE, BONE, LUNG, WIDE = (
    Window(40, 400),
    Window(400, 1800),
    Window(-500, 1500),
    Window(0, 3000),
)


@dataclass(frozen=True)
class Shown:
    """A frame of a public test image, and how it is shown.

    Attributes:
        blackened: rows at the top, with what a device has burned in.
    """

    file: str
    window: Window | None = None
    frame: int = 1
    blackened: int = 0


CT: Final = tuple(Shown("CT_small.dcm", window) for window in (SOFT_TISSUE, BONE, LUNG, WIDE))
MR: Final = tuple(
    Shown("MR2_UNCR.dcm", window)
    for window in (None, Window(600, 1200), Window(1200, 1200), Window(1500, 3000))
)
LOOP: Final = tuple(Shown("examples_ybr_color.dcm", frame=frame) for frame in range(1, 17))
FILMS: Final[dict[str, tuple[str, FilmOrder, Sequence[Shown]]]] = {
    "ct-2x2": (
        "CT of the thoracic spine",
        FilmOrder(layout="2x2", arrange="sheet", header=HEADER, footer=FOOTER),
        CT,
    ),
    "mr-single": (
        "MR of the shoulder",
        FilmOrder(film_size="8INX10IN", header=HEADER, footer=FOOTER),
        MR[:1],
    ),
    "us-contact": (
        "Echocardiography",
        FilmOrder(layout="contact", arrange="sheet", header=HEADER, trim=True),
        LOOP,
    ),
    "mr-1+3": ("MR of the shoulder", FilmOrder(layout="1+3", header=HEADER), MR),
    "us-colour": (
        "Ultrasound",
        FilmOrder(
            film_size="A4", arrange="sheet", border_density="WHITE", header=HEADER, footer=FOOTER
        ),
        [Shown("US1_UNCR.dcm", blackened=105)],
    ),
    "mr-reverse-true-size": (
        "MR of the shoulder",
        FilmOrder(
            film_size="10INX12IN",
            polarity="REVERSE",
            true_size=True,
            scale_bar=True,
            patient_box="{PatientName}  {PatientID}  {StudyDate}",
        ),
        MR[:1],
    ),
}


def _pictures(shown: Sequence[Shown], study: str, folder: Path) -> list[Picture]:
    """Return copies of the images that name an invented patient."""
    found = []
    for number, one in enumerate(shown):
        data_set = dcmread(next(path for path in REAL_FILES if path.name == one.file))
        for keyword, value in (INVENTED | {"StudyDescription": study}).items():
            setattr(data_set, keyword, value)
        if one.blackened:
            pixels = data_set.pixel_array.copy()
            pixels[: one.blackened] = 0
            data_set.PixelData = pixels.tobytes()
        path = folder / f"{number}.dcm"
        data_set.save_as(path)
        found.append(Picture(path, one.frame, one.window))
    return found


def draw(study: str, order: FilmOrder, shown: Sequence[Shown], printer: Profile) -> bytes:
    """Return a film as a PNG that is small enough for a page."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = _pictures(shown, study, Path(folder))
        planned = plan(order, printer, images=len(pictures))
        film = compose(planned.film, pictures)
    for edge in EDGES:
        made = BytesIO()
        image = Pillow.open(BytesIO(png(film, edge)))
        image.quantize(LEVELS, dither=Pillow.Dither.NONE).save(made, "PNG", optimize=True)
        if made.tell() <= MOST_BYTES:
            return made.getvalue()
    raise ValueError(f"a film does not fit into {MOST_BYTES} bytes")


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, (study, order, shown) in FILMS.items():
        printer = profiles()["colour-paper" if name == "us-colour" else "generic"]
        made = draw(study, order, shown, printer)
        (FOLDER / f"{name}.png").write_bytes(made)
        sys.stdout.write(f"{name}: {len(made)} bytes\n")


if __name__ == "__main__":
    main()
