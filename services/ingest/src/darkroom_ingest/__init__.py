"""Darkroom ingest: receives images from modalities and makes them durable."""
