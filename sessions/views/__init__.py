"""What is shown of a session, and said to people."""
