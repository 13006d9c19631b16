"""What is told, in words of one's own language."""
