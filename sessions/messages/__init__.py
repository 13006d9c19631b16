"""To whom a message goes: numbers and jids, by one rule."""
