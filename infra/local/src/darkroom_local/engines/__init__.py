"""A private PostgreSQL and RabbitMQ, and the processes that they are."""
