"""Questions to other nodes: queries, worklists, procedure steps."""
