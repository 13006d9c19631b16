"""One stream of measurements: what is measured, by whom, how it is kept, and who reads it."""
