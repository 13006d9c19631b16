"""HTTP: routes, handlers, one shape for errors.

Knows the supervisor; nobody but the program's composition root knows it.
"""
