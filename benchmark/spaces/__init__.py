"""Search spaces: which configurations there are, what they cost, and the networks that they stand for.

`space` and `costs` need no torch, `networks` does. Import from the modules: a package gathers, it hands nothing on.
"""
