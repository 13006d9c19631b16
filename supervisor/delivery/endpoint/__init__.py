"""One request to a webhook's endpoint: what goes out, to which addresses, and what came of it."""
