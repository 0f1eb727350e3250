"""Studies for people and programs that do not speak DICOM."""
