"""`make bench-feed`: a thousand clients of the live feed, and what they get."""
