"""Darkroom API: REST and DICOMweb for people and programs."""
