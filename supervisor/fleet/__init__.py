"""Which sessions there are, and what happens to all of them."""
