"""The host as it is: the only samplers."""
