"""What befell a session, as records and figures: incidents, counters, its phone."""
