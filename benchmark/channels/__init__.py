"""CONet (Hosseini et al., 2021): how many channels each layer of a network should have."""
