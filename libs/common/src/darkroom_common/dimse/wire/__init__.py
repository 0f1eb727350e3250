"""The wire of DIMSE without I/O: PDUs, command sets, data sets (PS3.7, PS3.8)."""
