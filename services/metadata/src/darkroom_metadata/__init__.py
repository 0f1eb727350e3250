"""Darkroom metadata: keeps the index of patients, studies, series and instances."""
