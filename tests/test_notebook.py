"""The notebook runs from an empty kernel, as a reader starts it, and shows what it says."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_the_quickstart_runs_and_shows_a_score_and_three_plots(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")]  # kept without outputs: they could be stale
    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in shown)
    assert "Kendall tau-b                   0.490" in text  # pooling late, as results/README.md has it
    assert "MACs 0.498" in text
    assert "MACs 0.473" in text
    assert "0.915: resnet20-cifar10-paper-epochs10-2daccdc2036b\n" in text  # whole: a name cut short finds no table
    assert sum("image/png" in output.get("data", {}) for output in shown) == 3
    assert not [output for output in shown if output.get("name") == "stderr"]
