"""Pictures and documents that people upload."""

import io
from typing import Any

import numpy as np
from PIL import Image as Pillow
from reportlab.pdfgen.canvas import Canvas

ROWS, COLUMNS = 31, 33
RNG = np.random.default_rng(20261127)
COLOUR = Pillow.fromarray(RNG.integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8))
GRAY = COLOUR.convert("L")
WORDS = Pillow.fromarray(RNG.integers(0, 65536, (ROWS, COLUMNS), dtype=np.uint16))


def saved(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    pages = [one.copy() for one in options.pop("append_images", ())]
    image.copy().save(file, kind, append_images=pages, **options)
    return file.getvalue()


def a_pdf(pages: int = 1) -> bytes:
    file = io.BytesIO()
    canvas = Canvas(file)
    for number in range(pages):
        canvas.drawString(72, 72, f"Findings, page {number}")
        canvas.showPage()
    canvas.save()
    return file.getvalue()
