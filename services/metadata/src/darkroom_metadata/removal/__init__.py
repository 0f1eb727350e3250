"""Deletion of studies: under retention and legal hold, restorable until it is final (STO-04)."""
