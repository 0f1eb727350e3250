"""Orders of information systems: HL7 v2 by MLLP, and files that are dropped in a directory."""
