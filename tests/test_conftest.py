"""How many processes `make test` takes: as many as the machine has cores and memory for."""

import pytest

from tests.conftest import WORKER_BYTES, pytest_xdist_auto_num_workers


@pytest.mark.parametrize(
    ("cores", "workers_that_fit", "expected"),
    [(1, 99.0, 0), (2, 99.0, 2), (8, 99.0, 8), (8, 3.9, 3), (8, 1.9, 0), (8, 0.5, 0)],
)
def test_a_process_per_core_where_memory_suffices_and_none_beside_where_one_fits(
    cores, workers_that_fit, expected, monkeypatch
):
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    monkeypatch.setattr("benchmark.running.cores.usable_cores", lambda: cores)
    monkeypatch.setattr("benchmark.training.memory.available_bytes", lambda device: workers_that_fit * WORKER_BYTES)
    assert pytest_xdist_auto_num_workers() == expected


def test_who_names_a_number_has_it_from_pytest_xdist(monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "5")
    assert pytest_xdist_auto_num_workers() is None
