"""Backup, restore and drill (STO-05): the database, and the objects that it names."""
