"""Whether a picture may show whose it is (PS3.3 C.7.6.1, Burned In Annotation)."""

from typing import Final

from pydicom.dataset import Dataset

_PIXELS: Final = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_SCREENS: Final = frozenset(
    {"US", "IVUS", "BDUS", "ES", "XC", "GM", "OP", "OT", "DG", "SC", "XA", "RF", "DOC", "VL"}
)
"""Modalities that use to write into their pictures, or that are pictures of something else."""
_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_ULTRASOUND: Final = ("1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3")


def burned_in(dataset: Dataset) -> str:
    """Return why the pixels may show identity, in words; empty when they do not."""
    if not any(tag in dataset for tag in _PIXELS):
        return ""
    if dataset.get("RecognizableVisualFeatures") == "YES":
        return "its Recognizable Visual Features say so"
    if (told := dataset.get("BurnedInAnnotation")) in ("YES", "NO"):
        return "its Burned In Annotation says so" if told == "YES" else ""
    what = _kind(dataset)
    return f"{what} that does not say there is none" if what else ""


def _kind(dataset: Dataset) -> str:
    """Return what kind of picture it is, if it is one that uses to be written into."""
    sop_class = str(dataset.get("SOPClassUID") or "")
    if sop_class == _CAPTURE or sop_class.startswith(f"{_CAPTURE}."):
        return "it is a secondary capture"
    if any(sop_class == one or sop_class.startswith(f"{one}.") for one in _ULTRASOUND):
        return "it is an ultrasound image"
    if "SCREEN" in str(dataset.get("ImageType") or "").upper():
        return "it is a screen save"
    modality = str(dataset.get("Modality") or "")
    return f"it is of modality {modality}" if modality in _SCREENS else ""
