"""What is wrong, and who is told of it (begin with `alerts.py`)."""
