"""What has happened, for people and programs outside: one durable, bounded log."""
