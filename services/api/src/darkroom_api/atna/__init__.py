"""DICOM audit messages (PS3.15 annex A.5) for an audit record repository (IHE ATNA)."""
