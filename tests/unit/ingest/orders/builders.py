"""Messages of HL7 v2 as information systems write them."""

from darkroom_ingest.orders.reading import Header, Hl7Message, header_of


def segment(name: str, fields: dict[int, str]) -> str:
    """Return a segment with some of its fields."""
    return "|".join((name, *(fields.get(number, "") for number in range(1, max(fields) + 1))))


PID = r"PID|1||4711^^^HOSP^MR||Planted^Anna^B^^Dr||19800229|F|||||||||||ACC9"
PV1 = segment(
    "PV1", {1: "1", 3: "W3^12^B", 8: "REF1^Refer^Rita^^^Dr", 15: "B6", 16: "VIP", 19: "ACC9"}
)
ORC = "ORC|{}|P1|F1||{}||^^^20261127103000^^S||20261126080000|||D1^Order^Otto"
OBR = segment(
    "OBR",
    {
        1: "1",
        2: "P1",
        3: "F1",
        4: "TH^Thorax^L^TH1^Thorax ap^L",
        12: "DC^danger",
        13: "asthma",
        16: "D1^Order^Otto",
        18: "{}",
        19: "RP1",
        20: "S1",
        21: "CT1",
        24: "CT",
        27: "^^^20261127103000^^S",
        44: "TH^Thorax CT^L",
    },
)
ZDS = "ZDS|1.2.3.4^100^Application^DICOM"


def msh(kind: str = "ORM^O01", control: str = "M1", version: str = "2.3.1", more: str = "") -> str:
    return rf"MSH|^~\&|RIS|HOSP|DARKROOM|XR|20261127080000||{kind}|{control}|P|{version}{more}"


def order(
    control: str = "NW",
    *,
    accession: str = "A1",
    status: str = "",
    pid: str = PID,
    message: str = "M1",
    obr: str = OBR,
    more: str = "",
) -> str:
    """Return an ORM^O01."""
    segments = (
        msh(control=message, more=more),
        pid,
        PV1,
        ORC.format(control, status),
        obr.format(accession),
        ZDS,
    )
    return "".join(f"{one}\r" for one in segments)


def admission(event: str, pid: str = PID, *, message: str = "M1", merged: str = "") -> str:
    """Return an ADT."""
    segments = [msh(f"ADT^{event}", message), "EVN||20261127", pid]
    segments += [f"MRG|{merged}"] if merged else []
    return "".join(f"{one}\r" for one in segments)


def read(text: str, codec: str = "ascii", *, assumed: str = "") -> tuple[Header, Hl7Message]:
    raw = text.encode(codec)
    header = header_of(raw, assumed=assumed)
    return header, Hl7Message(raw, header)
