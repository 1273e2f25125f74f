"""Training: how a step runs on a device (`engine`), and the loop over epochs with its checkpoints.

VERSION stands for all that networks, batches, engine and loop compute. It is raised on purpose, in the commit after
which a kept search would come out otherwise by more than another processor makes it: kept rankings are of one version.
"""

VERSION = 1
