"""What sessions need of a host, and what it has."""
