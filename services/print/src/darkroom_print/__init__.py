"""Darkroom print: composes films and sends them to printers."""
