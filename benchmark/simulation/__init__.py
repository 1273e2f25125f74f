"""Search on a table in simulated time: the problem, its clock, the optimisers, and how good their incumbents are. No torch."""
