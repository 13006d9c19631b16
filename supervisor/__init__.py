"""The fleet and what looks after it: a room for each subject (ARCHITECTURE.md says which), put
together by `program`.
"""
