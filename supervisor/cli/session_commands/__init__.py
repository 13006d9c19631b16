"""`wasup sessions ...`: group.py says which file has which verb."""
