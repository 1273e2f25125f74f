"""Running many things: worker processes, Slurm, progress, and who may do what.

    launch      items, several at once, here or on Slurm: begin here
    worker      a process that carries items out
    claims      one process at a time does an item; who may delete a lock
    cluster     Slurm, through submitit: job arrays, and what became of their tasks
    node        what runs inside a task: also what it does when it is pre-empted, or killed
    slurm       Slurm's own commands
    submission  submit, wait, status, cancel, clear, as commands do it
    progress    the line on the screen
    cores       how many this process may use

Knows nothing of pooling, networks or tables.
"""
