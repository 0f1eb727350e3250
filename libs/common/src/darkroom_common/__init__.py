"""What every Darkroom service stands on: messages, broker, database, object store, telemetry."""
