"""Odoo, by whichever of its protocols it serves."""
