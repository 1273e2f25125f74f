"""Training: networks and batches put together.

    train        the loop over epochs: begin here
    engine       how a step runs on a device
    schedule     the learning rate of each step
    checkpoint   what a killed training goes on from
    devices      devices by name, and what the last bits of a result depend on
    pace         how fast this machine is; precision: which one it takes

VERSION stands for all that networks, batches, engine and loop compute. It is raised on purpose, in the commit after
which a kept search would come out otherwise by more than another processor makes it: kept rankings are of one version.
"""

VERSION = 1
