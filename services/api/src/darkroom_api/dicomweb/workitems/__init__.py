"""UPS-RS: workitems by DICOMweb (PS3.18 section 11)."""
