"""How it went, written down for people: the day, the week, the month, and what to do about it."""
