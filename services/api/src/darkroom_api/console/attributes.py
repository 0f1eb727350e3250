"""Attributes as DICOM JSON (PS3.18 annex F) has them, for people to read."""

from collections.abc import Mapping
from typing import Any

from pydicom.datadict import tag_for_keyword


def value(attributes: Mapping[str, Any], keyword: str) -> Any:
    """Return the first value of an attribute; empty when it has none."""
    tag = tag_for_keyword(keyword) or 0
    return next(iter(attributes.get(f"{tag:08X}", {}).get("Value", ())), "")


def said(one: Any) -> str:
    """Return a value as text; of a name (PS3.5 section 6.2.1.2) its alphabetic form."""
    if isinstance(one, dict):
        return str(one.get("Alphabetic", ""))
    return str(one)


def texts(attributes: Mapping[str, Any], keyword: str) -> list[str]:
    """Return all values of an attribute as text."""
    tag = tag_for_keyword(keyword) or 0
    return [said(one) for one in attributes.get(f"{tag:08X}", {}).get("Value", ())]
