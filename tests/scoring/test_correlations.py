"""What ranks like what, against scipy's tau."""

import csv
import json

import pytest
from scipy.stats import kendalltau

from benchmark import Ranking, correlate, load_space, load_table
from benchmark.errors import UsageError
from benchmark.scoring.correlations import correlations
from benchmark.spaces import costs
from benchmark.streams import stream
from tests.kept import OURS, RESULTS

SPACE = load_space()


def ranking(seed):
    return Ranking(SPACE.name, tuple(stream("test", seed).normal(size=36).round(1)))


def test_taus_are_scipys_and_seeds_are_paired():
    tables = [load_table("published"), load_table(OURS)]
    one, other = [ranking(s) for s in range(3)], [ranking(s) for s in range(3, 6)]
    found = correlations({"one": one, "other": other}, tables)
    assert found.names == (
        "one",
        "other",
        "MACs",
        "layers before the first pooling",
        "accuracy, published",
        f"accuracy, {OURS}",
    )
    taus = dict(zip(found.names, (dict(zip(found.names, row, strict=True)) for row in found.taus), strict=True))
    macs = [costs.macs(SPACE, config) for config in SPACE]
    means = [row.mean for row in tables[0].rows]

    def mean_tau(pairs):
        return sum(kendalltau(a, b).statistic for a, b in pairs) / 3

    assert taus["one"]["other"] == pytest.approx(
        mean_tau((a.scores, b.scores) for a, b in zip(one, other, strict=True))
    )
    assert taus["one"]["MACs"] == pytest.approx(mean_tau((a.scores, macs) for a in one))
    assert taus["MACs"]["accuracy, published"] == pytest.approx(kendalltau(macs, means).statistic)
    assert all(taus[a][b] == taus[b][a] for a in taus for b in taus)
    assert all(taus[a][a] == pytest.approx(1) for a in taus)


def test_the_command_prints_and_keeps_the_matrix(tmp_path, capsys):
    path = tmp_path / "deep" / "taus.csv"
    words = ["--out", str(RESULTS), "--method", "spos", "--csv", str(path)]
    assert correlate.main([*words, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    with path.open(newline="") as lines:
        rows = list(csv.reader(lines))
    assert rows[0][1:] == made["names"] == [row[0] for row in rows[1:]]
    for row, taus in zip(rows[1:], made["taus"], strict=True):
        assert [float(cell) for cell in row[1:]] == pytest.approx(taus, abs=1e-4)
    correlate.main(words)
    assert "1 spos" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no rankings of method 'nope'"):
        correlate.main(["--method", "nope", "--out", str(RESULTS)])


def test_of_two_spaces_nothing_is_said():
    other = load_space("resnet18-imagenet")
    foreign = Ranking(other.name, tuple(float(i) for i in range(len(other))))
    with pytest.raises(UsageError, match="are of one space"):
        correlations({"foreign": [foreign]}, [load_table("published")])
