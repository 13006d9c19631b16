"""The fleet: which sessions there are, the gate that admits their attempts, health, settings, and the program's start and end."""
