"""From the spool to the object store and the broker."""
