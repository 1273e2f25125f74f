"""Has a data set in place, checked; fetches it where it is missing."""

from benchmark.cli import command
from benchmark.datasets.named import arguments as arguments
from benchmark.datasets.named import main

if __name__ == "__main__":
    command(main)
