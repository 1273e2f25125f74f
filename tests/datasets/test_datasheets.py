"""Data sets by name: each file registers one, and whatever names data sets knows it from then on."""

import numpy as np
import pytest
import torch

from benchmark import build_groundtruth, datasheets
from benchmark.datasets import loaders, named
from benchmark.datasets.sets import Dataset, Images
from benchmark.datasheets import Datasheet, register
from benchmark.errors import UsageError
from benchmark.recipe import Recipe


@pytest.fixture
def stripes(monkeypatch):
    """A data set of three classes, registered as a file of its own would do it."""
    monkeypatch.setattr(datasheets, "SHEETS", dict(datasheets.SHEETS))
    asked = []

    def load(root, download):
        asked.append((root, download))
        draw = np.random.default_rng(0)
        pixels = draw.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
        images = Images(torch.from_numpy(pixels), torch.arange(6) % 3)
        return Dataset.of(sheet, images, images.first(3), sheet.checksum())

    sheet = register(Datasheet("stripes", "Stripes", 3, (0.5,) * 3, (0.25,) * 3, load, lambda: "sum of stripes"))
    return asked


def test_every_file_registers_a_sheet_under_its_own_name():
    from pathlib import Path

    folder = Path(datasheets.__file__).parent / "datasets" / "known"
    assert list(datasheets.names()) == sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    assert all(datasheets.datasheet(name).name == name for name in datasheets.names())


def test_one_that_registers_is_known_everywhere(stripes, tmp_path, capsys):
    assert "stripes" in datasheets.names()
    assert Recipe(dataset="stripes").dataset == "stripes"
    for loader in ("resident", "torchvision"):
        found = loaders.load("stripes", tmp_path, loader=loader)
        assert (found.name, found.classes, len(found.train), found.checksum) == ("stripes", 3, 6, "sum of stripes")
    assert stripes == [(tmp_path, True)] * 2
    with pytest.raises(SystemExit):
        build_groundtruth.main(["--help"])
    assert "--dataset cifar10|cifar100|food101|imagenet|stripes|synthetic" in capsys.readouterr().out
    named.main(["stripes", "--data", str(tmp_path)])
    assert f"Stripes is in {tmp_path}: 6 + 3 images, checked" in capsys.readouterr().out


def test_what_nobody_registered_is_refused_with_the_list():
    for call in (datasheets.datasheet, named.load, loaders.load):
        with pytest.raises(UsageError, match="unknown data set 'mnist': choose from cifar10, "):
            call("mnist")


def test_one_made_in_code_has_no_files_to_check():
    with pytest.raises(UsageError, match="'synthetic' is unknown"):
        named.main(["synthetic"])
