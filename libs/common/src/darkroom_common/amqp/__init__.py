"""The broker: publish with confirms, consume with settling, retry and dead letters in one place."""
