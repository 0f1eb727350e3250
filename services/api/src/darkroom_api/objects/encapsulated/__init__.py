"""Documents within DICOM objects, beside PDF: clinical documents and models for manufacturing."""
