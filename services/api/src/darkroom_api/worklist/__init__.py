"""The modality worklist that this house keeps, and what modalities have told of it."""
