"""Screens of images: film, key images and presentation states, the viewer."""
