"""A webhook's endpoint: what goes out to it, to which addresses, what came of it, and when again."""
