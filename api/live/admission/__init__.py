"""Who is let into the live feed: token, room, a place; and who has been."""
