"""PostgreSQL: pool, migrations, inbox, outbox, encrypted columns."""
