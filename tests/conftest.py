"""What the tests share: a tiny data set, the official CIFAR-10 where it is at hand, the commands as a user starts them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
WORKER_BYTES = 3e9  # what a process of tests, and the trainings that its commands start, take at most


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """What `-n auto` means: a process per core, fewer where memory is short. 0 is one process, without pytest-xdist."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # its user knows better
    import torch

    from benchmark.running.cores import usable_cores
    from benchmark.training.memory import available_bytes

    fit = min(usable_cores(), int(available_bytes(torch.device("cpu")) / WORKER_BYTES))
    return fit if fit > 1 else 0


@pytest.fixture(autouse=True)
def _one_thread():
    """One thread for torch, whatever the test before has set: tests are small, and threads that wait for each other
    on a busy machine cost many times what they save. Imports no torch by itself."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def pytest_exception_interact(call):
    """A CUDA graph whose recording broke off spoils the process: what failed after it would only hide why."""
    if call.excinfo.typename == "Unrecordable":
        pytest.exit(f"no test after this one means anything: {call.excinfo.value}", returncode=1)


@pytest.fixture(scope="session")
def tiny_dataset():
    """96 training and 64 test images: four coloured squares per class under noise, so that it can be learned."""
    import numpy as np
    import torch

    from benchmark.datasets.sets import Dataset, Images

    draw = np.random.default_rng(5)
    patterns = draw.integers(0, 256, (10, 2, 2, 3)).repeat(16, 1).repeat(16, 2)

    def images(count):
        labels = draw.permutation(np.arange(count) % 10)
        noisy = 0.5 * patterns[labels] + 0.5 * draw.integers(0, 256, (count, 32, 32, 3))
        return Images(torch.from_numpy(noisy.astype(np.uint8)), torch.from_numpy(labels))

    return Dataset("tiny", images(96), images(64), 10, (0.5, 0.45, 0.4), (0.2, 0.25, 0.3), "checksum of tiny")


@pytest.fixture(scope="session")
def cifar10_root():
    """The folder that holds the official files. Never downloads; skips where they are not at hand."""
    from benchmark.datasets import named
    from benchmark.datasets.known import cifar10

    root = named.default_root()
    if missing := [name for name in cifar10.CIFAR10_FILES if not (root / cifar10.CIFAR10_FOLDER / name).is_file()]:
        pytest.skip(f"CIFAR-10 is not in {root} ({missing[0]} is missing): set NASBENCH_POOLING_DATA to its folder")
    return root


@pytest.fixture(scope="session")
def ffcv():
    """FFCV. Where it is not installed this skips, or fails if NASBENCH_POOLING_FFCV says that it must be there."""
    from benchmark.datasets import beton

    if importlib.util.find_spec("ffcv") is None and os.environ.get("NASBENCH_POOLING_FFCV") != "required":
        pytest.skip(f"FFCV is not installed: {beton.APT} && {beton.PIP}")
    return beton.library()


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Variables for a Python of its own that imports this checkout.

    Git is kept from answering: a commit made while the tests run would be noted in some records and not in others.
    """
    mute = tmp_path_factory.mktemp("bin") / "git"
    mute.write_text("#!/bin/sh\nexit 1\n")
    mute.chmod(0o755)
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    programs = [str(mute.parent), os.environ["PATH"]]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PATH": os.pathsep.join(programs)}


@pytest.fixture
def run_python(tmp_path, environment):
    """run_python("-m", "module", ...) in an empty folder; what it printed and how it ended."""

    def run(*words, timeout=240):
        command = [sys.executable, *map(str, words)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run
