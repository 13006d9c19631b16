"""The one path for what must be durable in order."""
