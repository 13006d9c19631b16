"""What is wrong with this installation, why, and what to type about it."""
