"""Migration from earlier archives: listed, copied newest first, compared, reported (STO-06)."""
