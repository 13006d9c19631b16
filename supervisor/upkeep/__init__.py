"""What has to be done again and again, by the clock: one scheduler, its jobs, and what came of
them.
"""
