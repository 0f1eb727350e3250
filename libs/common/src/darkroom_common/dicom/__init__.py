"""DICOM files and data sets: what more than one service needs to know about their bytes."""
