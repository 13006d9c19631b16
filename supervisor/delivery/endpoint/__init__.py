"""A webhook's endpoint: what goes out, to which addresses, what came of it, when again."""
