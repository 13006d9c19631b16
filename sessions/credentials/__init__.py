"""What makes a session a linked device, and the way it goes out: credentials, folders of others,
proxies.
"""
