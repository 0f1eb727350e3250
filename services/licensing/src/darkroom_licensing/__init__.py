"""Darkroom licensing: validates the licence and tells the others what it entitles to."""
