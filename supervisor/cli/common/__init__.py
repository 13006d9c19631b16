"""What the commands share: how they end, what they print, and how they reach the supervisor."""
