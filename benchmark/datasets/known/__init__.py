"""The data sets: a file each, which registers a `benchmark.datasheets.Datasheet` when it is imported. No torch until one is loaded.

A file that is put here is found by its place: `--dataset`, recipes, loaders and spaces then know the set by its name.
"""
