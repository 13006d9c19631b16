"""What the supervisor keeps of its own work, beside what it keeps of sessions."""
