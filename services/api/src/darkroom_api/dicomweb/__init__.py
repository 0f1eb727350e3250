"""DICOMweb (PS3.18) without routes: negotiation, parameters, framing, pixels."""
