"""What the modality worklist is made of."""
