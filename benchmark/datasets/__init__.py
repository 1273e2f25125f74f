"""Data: the sets, the batches of an epoch (order, crops, flips, normalisation), and where their images come from."""
