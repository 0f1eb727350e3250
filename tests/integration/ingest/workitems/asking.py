"""Workitems as a client of UPS-RS has them."""

from typing import Any

JSON = {"content-type": "application/dicom+json"}
BASE = "/dicom-web/workitems"
GLOBAL = "1.2.840.10008.5.1.4.34.5"
FILTERED = "1.2.840.10008.5.1.4.34.5.1"
STATE = "00741000"
TRANSACTION = "00081195"


def code(value: str, meaning: str) -> dict[str, Any]:
    return {
        "00080100": {"vr": "SH", "Value": [value]},
        "00080102": {"vr": "SH", "Value": ["99TEST"]},
        "00080104": {"vr": "LO", "Value": [meaning]},
    }


def a_workitem(**given: Any) -> dict[str, Any]:
    """Return a data set to create a workitem with; arguments name tags, as `t00100020`."""
    made = {
        "00741200": {"vr": "CS", "Value": ["MEDIUM"]},
        "00741204": {"vr": "LO", "Value": ["Read the chest"]},
        "00404041": {"vr": "CS", "Value": ["READY"]},
        "00404005": {"vr": "DT", "Value": ["20261127103000"]},
        STATE: {"vr": "CS", "Value": ["SCHEDULED"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Planted^Wanda"}]},
        "00100020": {"vr": "LO", "Value": ["PLANTED-W1"]},
        "00404018": {"vr": "SQ", "Value": [code("READ", "Interpretation")]},
    }
    return made | {name[1:]: value for name, value in given.items()}


def a_change(state: str, transaction: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {STATE: {"vr": "CS", "Value": [state]}}
    if transaction is not None:
        made[TRANSACTION] = {"vr": "UI", "Value": [transaction]}
    return made


def performed() -> dict[str, Any]:
    """Return what has to be known of a workitem before it is completed."""
    return {
        "00741216": {
            "vr": "SQ",
            "Value": [
                {
                    "00404028": {"vr": "SQ", "Value": [code("WS1", "Workstation 1")]},
                    "00404019": {"vr": "SQ", "Value": [code("READ", "Interpretation")]},
                    "00404050": {"vr": "DT", "Value": ["20261127103000"]},
                    "00404051": {"vr": "DT", "Value": ["20261127104500"]},
                    "00404033": {"vr": "SQ"},
                }
            ],
        }
    }
