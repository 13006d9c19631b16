"""`make bench`: what wasup costs and how fast it heals, measured on this machine, plain Baileys
beside it.
"""
