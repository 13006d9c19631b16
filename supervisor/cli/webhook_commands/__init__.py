"""`wasup webhooks ...`: who is sent what happens, and what has not arrived."""
