"""Edits of what objects say of their patient and their study (MET-06)."""
