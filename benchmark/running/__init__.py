"""Running many things: worker processes, Slurm, progress, and files that several processes write.

Knows nothing of pooling, networks or tables.
"""
