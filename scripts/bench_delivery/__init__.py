"""How webhooks deliver: everything in order through outages on both sides, without delaying each
other, and how fast.
"""
