"""Values for every option of each kind of object, at random and always the same."""

import io
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image as Pillow

from darkroom_api.objects.exchange import Kind, MakeTask, Reference
from darkroom_api.objects.identity import said
from darkroom_api.objects.kinds import GIVEN
from darkroom_api.objects.making import make
from darkroom_api.objects.projection.spec import BODY_PARTS
from darkroom_api.objects.structured.spec import HEADINGS, TITLES
from tests.support.uploads import a_pdf

CT = "1.2.840.10008.5.1.4.1.1.2"
REFERENCES = (
    Reference(CT, "2.25.11", "2.25.4", 512, 512, 1, spacing=(0.5, 0.5)),
    Reference(f"{CT}.1", "2.25.12", "2.25.5", 256, 300, 1, spacing=(0.3, 0.3), frames=4),
    Reference(CT, "2.25.13", "2.25.4", 512, 512, 1, spacing=(0.7, 0.7)),
)
STUDY = {
    "SpecificCharacterSet": "ISO_IR 192",
    "SOPInstanceUID": "2.25.1",
    "StudyInstanceUID": "2.25.2",
    "SeriesInstanceUID": "2.25.3",
    "PatientName": "Yamada^Tarou=山田^太郎",
    "PatientID": "P1",
    "PatientBirthDate": "",
    "PatientSex": "",
    "StudyDate": "20261127",
    "StudyTime": "120000",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "",
    "StudyID": "S1",
    "SeriesNumber": 3,
    "InstanceNumber": 1,
    "ContentDate": "20261127",
    "ContentTime": "120000",
}
WORDS = ("Chest PA", "Röntgen Thorax", "胸部", "A <b>bold</b> & 'quoted' finding\nin two lines")


def made(kind: Kind, values: dict[str, Any], body: bytes = b"") -> bytes:
    """Return the DICOM file of an object, as the route and a worker make it."""
    given = GIVEN[kind].model_validate({"study": "A1", **values})
    named = {one.sop_instance_uid: one for one in REFERENCES}
    own = {"Modality": given.of_modality(), **given.said()}
    task = MakeTask(
        kind,
        said({**STUDY, **own}),
        len(body),
        given.model_dump(mode="json", exclude_unset=True),
        tuple(named[uid] for uid in given.instances()),
        tuple(f"2.25.{100 + number}" for number in range(given.new_uids())),
    )
    return make(task, body)


def gray(bits: int, seed: int = 1, shape: tuple[int, int] = (31, 33)) -> bytes:
    """Return a grey picture of some bits as PNG."""
    pixels = np.random.default_rng(seed).integers(0, 1 << bits, shape)
    file = io.BytesIO()
    Pillow.fromarray(pixels.astype(np.uint8 if bits == 8 else np.uint16)).save(file, "PNG")
    return file.getvalue()


def a_document(title: str = "Findings", extension: str = "7") -> bytes:
    """Return a clinical document."""
    named = f"<title>{escape(title)}</title>" if title else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ClinicalDocument xmlns="urn:hl7-org:v3">'
        f'<typeId root="2.16.840.1.113883.1.3"/><id root="1.2.3.9" extension="{extension}"/>'
        f"{named}<component><section><title>Not this one</title></section></component>"
        "</ClinicalDocument>"
    ).encode()


def a_model(triangles: int = 4) -> bytes:
    """Return a model in binary STL."""
    numbers = np.arange(12 * triangles, dtype="<f4").reshape(triangles, 12)
    pieces = [one.tobytes() + bytes(2) for one in numbers]
    return b"made by hand".ljust(80) + triangles.to_bytes(4, "little") + b"".join(pieces)


def a_picture(
    random: np.random.Generator, *, pages: int, words: bool, colour: bool, form: str
) -> bytes:
    """Return a picture: of several pages it is a TIFF, of words it has no colour."""
    rows, columns = (int(one) for one in random.integers(1, 40, 2))
    kind: Any = np.uint16 if words and not colour else np.uint8
    shape = (rows, columns, 3) if colour else (rows, columns)
    frames = [
        Pillow.fromarray(random.integers(0, np.iinfo(kind).max, shape).astype(kind))
        for _ in range(pages)
    ]
    chosen = "TIFF" if pages > 1 or kind is np.uint16 else form
    file = io.BytesIO()
    more: dict[str, Any] = {"save_all": True, "append_images": frames[1:]} if pages > 1 else {}
    frames[0].save(file, chosen, **more)
    return file.getvalue()


@dataclass
class AnyOf:
    """Chooses values; the same ones for the same number."""

    number: int

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.number)

    def maybe(self, **values: Any) -> dict[str, Any]:
        return {name: value for name, value in values.items() if self.random.random() < 0.5}

    def one(self, *values: Any) -> Any:
        return values[int(self.random.integers(len(values)))]

    def yes(self) -> bool:
        return bool(self.random.random() < 0.5)

    def whole(self, least: int, most: int) -> int:
        return int(self.random.integers(least, most + 1))

    def amount(self, most: float) -> float:
        return round(float(self.random.uniform(0, most)), self.whole(0, 9))

    def radiograph(self, kind: Kind) -> tuple[dict[str, Any], bytes]:
        bits = self.whole(8, 16)
        values = {
            "body_part": self.one(*BODY_PARTS),
            "bits_stored": bits,
            **self.maybe(
                view_position=self.one("AP", "PA", "LL", "RL", "LLD", "RLD", "LLO", "RLO"),
                laterality=self.one("L", "R", "B", "U"),
                photometric_interpretation=self.one("MONOCHROME1", "MONOCHROME2"),
                kvp=self.amount(150),
                tube_current=self.amount(800),
                exposure_time=self.amount(3000),
                exposure=self.amount(100),
                dose_area_product=self.amount(50),
                distance_source_to_detector=1 + self.amount(2000),
                exposure_index=self.amount(3000),
                target_exposure_index=self.amount(3000),
                deviation_index=self.amount(20) - 10,
                protocol_name=self.one(*WORDS[:3]),
                burned_in_annotation=self.yes(),
                compression=self.one("none", "jpeg-lossless", "jpeg-ls", "jpeg2000", "rle"),
            ),
        }
        if self.random.random() < 0.5:
            values |= {"window_center": self.amount(60000), "window_width": 1 + self.amount(9999)}
        place = {"patient_orientation": ("L", "F"), "imager_pixel_spacing": (0.139, 0.139)}
        if kind is Kind.DX:
            values |= place
            values |= self.maybe(
                intent=self.one("presentation", "processing"),
                detector_type=self.one("DIRECT", "SCINTILLATOR", "STORAGE", "FILM"),
                pixel_intensity_relationship=self.one("LIN", "LOG"),
                more_is_more_exposure=self.yes(),
            )
        else:
            values |= self.maybe(**place)
        return values, gray(bits, self.number)

    def annotation(self) -> dict[str, Any]:
        point = (self.amount(250), self.amount(250))
        kind, points = self.one(
            ("POINT", 1), ("CIRCLE", 2), ("ELLIPSE", 4), ("POLYLINE", 5), ("INTERPOLATED", 3)
        )
        drawing = {
            "kind": kind,
            "points": [(self.amount(250), self.amount(250)) for _ in range(points)],
            "filled": self.yes(),
        }
        words = {"text": self.one(*WORDS), "at": point}
        chosen: dict[str, Any] = self.one(
            words, {"drawing": drawing}, {**words, "drawing": drawing}
        )
        return chosen

    def presentation_state(self) -> tuple[dict[str, Any], bytes]:
        place = {"left": 10, "right": 200, "upper": 5, "lower": 190}
        count = self.whole(1, 3)
        values = {
            "images": [one.sop_instance_uid for one in REFERENCES[:count]],
            "annotations": [self.annotation() for _ in range(self.whole(0, 5))],
            **self.maybe(
                label="MARKED 1",
                description=self.one(*WORDS[:3]),
                creator="Müller^Jörg",
                window={"center": self.amount(900) - 100, "width": 1 + self.amount(3000)},
                inverted=self.yes(),
                rotation=self.one(0, 90, 180, 270),
                flipped=self.yes(),
                area=place,
                shutter=place,
                shutter_value=self.whole(0, 65535),
            ),
        }
        size: dict[str, Any] = self.one(
            {}, {"true_size": True}, {"magnification": 0.1 + self.amount(5)}
        )
        of_images = [self.of_image(uid) for uid in values["images"] if self.yes()]
        return {**values, **size, "of_images": of_images}, b""

    def of_image(self, uid: str) -> dict[str, Any]:
        frames = [2, 4] if uid == "2.25.12" and self.yes() else []
        window = {"center": self.amount(99), "width": 1 + self.amount(99)}
        return {"image": uid, "frames": frames, **self.maybe(window=window)}

    def key_objects(self) -> tuple[dict[str, Any], bytes]:
        count = self.whole(1, 3)
        values = {
            "images": [one.sop_instance_uid for one in REFERENCES[:count]],
            **self.maybe(title=self.one(*TITLES), description=self.one(*WORDS)),
        }
        return values, b""

    def text_report(self) -> tuple[dict[str, Any], bytes]:
        sections = [
            {
                "heading": self.one(*HEADINGS),
                "text": self.one(*WORDS),
                **self.maybe(images=["2.25.11", self.one("2.25.12", "2.25.13")]),
            }
            for _ in range(self.whole(1, 5))
        ]
        more = self.maybe(title=self.one(*WORDS[:3]), language="de", author="Müller^Jörg")
        return {"sections": sections, **more}, b""

    def event(self, *, with_offset: bool) -> dict[str, Any]:
        return {
            "started": "2026-11-27T10:00:00" + ("+09:00" if with_offset else ""),
            "body_part": self.one(*BODY_PARTS),
            "dose_area_product": self.amount(1e-3),
            **self.maybe(
                uid=f"2.25.{1000 + self.whole(0, 10**9)}",
                kind=self.one("stationary", "stepping", "rotational", "fluoroscopy"),
                protocol=self.one(*WORDS[:3]),
                laterality=self.one("", "L", "R", "B"),
                dose=self.amount(0.01),
                kvp=self.amount(150),
                tube_current=self.amount(800),
                exposure_time=self.amount(3000),
                exposure=self.amount(100_000),
                pulses=self.whole(1, 100),
                frames=self.whole(1, 100),
                distance_source_to_detector=1 + self.amount(2000),
                exposure_index=self.amount(3000),
                target_exposure_index=self.amount(3000),
                deviation_index=self.amount(20) - 10,
                filters=[
                    {
                        "material": self.one("aluminium", "copper", "rhodium", "silver"),
                        "thickness_minimum": 0.1,
                        "thickness_maximum": 0.1 + self.amount(1),
                    }
                ],
                image=self.one("2.25.11", "2.25.12"),
            ),
        }

    def secondary_capture(self) -> tuple[dict[str, Any], bytes]:
        values = self.maybe(
            modality=self.one("OT", "XC", "ES"),
            conversion_type=self.one("DV", "DI", "WSD", "SD", "SI"),
            laterality=self.one("", "L", "R"),
            burned_in_annotation=self.yes(),
        )
        return values, a_picture(
            self.random,
            pages=self.one(1, 1, 2, 3),
            words=self.yes(),
            colour=self.yes(),
            form=self.one("PNG", "TIFF", "BMP", "JPEG"),
        )

    def pdf(self) -> tuple[dict[str, Any], bytes]:
        values = self.maybe(title=self.one(*WORDS[:3]), burned_in_annotation=self.yes())
        return values, a_pdf(pages=self.whole(1, 5))

    def clinical_document(self) -> tuple[dict[str, Any], bytes]:
        return self.maybe(title=self.one(*WORDS[:3]), burned_in_annotation=self.yes()), a_document(
            title=self.one("", *WORDS[:3], "A long title " * 9), extension=self.one("", "X.7")
        )

    def model(self) -> tuple[dict[str, Any], bytes]:
        values = self.maybe(
            title=self.one(*WORDS[:3]),
            units=self.one("um", "mm", "cm", "m"),
            usage=self.one("diagnostic", "educational", "implant", "planning", "tool"),
            modified=self.yes(),
            mirrored=self.yes(),
            description=self.one(*WORDS[:3]),
            frame_of_reference_uid="2.25.77",
            manufacturer="Acme",
        )
        return values, a_model(self.whole(1, 20))

    def dose_report(self) -> tuple[dict[str, Any], bytes]:
        with_offset = self.yes()
        count = self.whole(1, 4)
        values = {
            "device": {
                "manufacturer": "Acme",
                "model": "X1",
                "serial": "77",
                **self.maybe(name="Room 3", software="1.0", uid="2.25.99"),
            },
            "events": [self.event(with_offset=with_offset) for _ in range(count)],
            **self.maybe(
                administered_by="Müller^Jörg",
                performed_procedure_step="2.25.98",
                source=self.one("automated", "manual", "dosimeter", "from-images", "from-mpps"),
                reference_point=self.one("isocenter-15cm", "entrance", "none"),
                total_dose_area_product=self.amount(1),
                total_dose=self.amount(1),
            ),
        }
        return values, b""

    def values(self, kind: Kind) -> tuple[dict[str, Any], bytes]:
        """Return values of a kind, and what it is made of."""
        if kind in (Kind.DX, Kind.CR):
            return self.radiograph(kind)
        values: tuple[dict[str, Any], bytes] = getattr(self, kind.name.lower())()
        return values
