"""`make bench-reconnect`: how soon, and at what cost in logins, sessions come back: wasup and what
users run today, under the same faults.
"""
