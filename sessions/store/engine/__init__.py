"""Which database it is, its schema and its lock: nobody else asks."""
