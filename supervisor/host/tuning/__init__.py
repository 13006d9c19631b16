"""Making the host ready: what has to change, changing it, proving it, and taking it back (seed
000). Entry: `optimizer.SystemOptimizer`.
"""
