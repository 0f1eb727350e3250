"""The modality worklist, and the performed procedure steps that modalities tell of."""
