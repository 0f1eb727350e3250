"""Projection radiographs: DX and CR images of grey pictures (PS3.3 A.26, A.2)."""
