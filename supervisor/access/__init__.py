"""Who may do what: scopes, keys, short-lived tokens, and what is written down of it."""
