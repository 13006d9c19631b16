"""What the supervisor sees of itself and of its host while it runs."""
