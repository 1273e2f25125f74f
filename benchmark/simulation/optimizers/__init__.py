"""Optimisers that ask and are told: a file each, a frozen record `Optimizer` in it, whose fields are its options."""
