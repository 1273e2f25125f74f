"""What commands have carried out, item by item: the runs of a table, the searches of a method, trainings of what they found.

runs          a training of a table: what a worker does with one, and doing many here
search        a search with all that decides its ranking: what a worker does with one seed
planning      searches before they begin: checked, with what they will take
carrying      their seeds made here, or by tasks of Slurm
retrain       what they found, trained from scratch
interference  configurations trained alone and in one set of weights
listing       which methods there are
"""
