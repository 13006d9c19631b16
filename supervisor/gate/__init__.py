"""Admission control: who may log in now, and whether the way is open at all."""
