"""What is said of objects that are made of values alone, and of a radiograph."""

from typing import Any

EVENT: dict[str, Any] = {
    "started": "2026-11-27T10:00:00+00:00",
    "body_part": "CHEST",
    "dose_area_product": 1.1e-5,
    "dose": 0.0012,
    "kvp": 121.5,
}
DOSE: dict[str, Any] = {
    "device": {"manufacturer": "Acme", "model": "X1", "serial": "77"},
    "administered_by": "Müller^Jörg",
    "events": [EVENT],
}
RADIOGRAPH: dict[str, Any] = {
    "body_part": "CHEST",
    "view_position": "PA",
    "patient_orientation": ["L", "F"],
    "imager_pixel_spacing": [0.139, 0.139],
    "bits_stored": 16,
    "compression": "jpeg2000",
}
