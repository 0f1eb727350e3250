"""The DICOM port: processes, associations, and what they report."""
