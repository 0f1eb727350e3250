"""Mutation of the core: safeguards are taken out one at a time, and tests must see it."""
