"""Every destination and printer is asked on a schedule whether it is there (TRX-14)."""
