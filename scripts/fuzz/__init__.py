"""What strangers may send, thrown at the real parts: HTTP, the workers' socket, and the files that
an operator hands in.
"""
