"""The page's studies: what is read, what is computed from it, what is left out, and that every one of them is drawn."""

import json
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import kendalltau

import benchmark
from benchmark.page import figures, files, kept, papers
from benchmark.page.histories import Mixing
from benchmark.page.studies import Studies, studies_of
from benchmark.scoring.correlations import correlations
from benchmark.scoring.interference import Interference, Look
from benchmark.scoring.ranking import Ranking
from benchmark.simulate import simulate
from benchmark.simulation.known import all_named

TABLE = benchmark.load_table("published")
SPACE = TABLE.space
PAIR = ("[1,1,8]", "[6,2,2]")


def write(out, folder, name, text):
    (out / folder).mkdir(exist_ok=True)
    (out / folder / name).write_text(text)


def experiment(configs=PAIR, **changes):
    size = len(configs)
    draw = np.random.default_rng(0).uniform(-1, 1, (size, size))
    looks = tuple(Look(epoch, tuple(map(tuple, ((draw + draw.T) / 2).tolist()))) for epoch in (1, 60))
    given = {
        "space": SPACE.name, "dataset": "cifar10", "configs": tuple(configs), "seeds": (0, 1), "epochs": (30, 60),
        "alone": tuple((80.0 + at, 81.0 + at) for at in range(size)), "together": tuple((70.0 + at, 72.0 + at) for at in range(size)),
        "shares": tuple((30.1, 29.9) for _ in configs), "looks": looks, "recipe": ("paper-epochs60", "0123456789ab"), "devices": ("a CPU",),
    }  # fmt: skip
    return Interference(**given | changes)


def read(out, mixtures=()):
    return studies_of(out, out / "report", mixtures)


def spec_of(found, key):
    [view] = [view for figure in figures.studies(found) for view in figure.views if view.key.startswith(key)]
    return view.page().to_dict(validate=False)


def rows_of(found, key):
    """The rows of a chart's first data set."""

    def walk(part):
        if isinstance(part, dict):
            values = part.get("values")
            if isinstance(values, list) and values and isinstance(values[0], dict):
                yield values
            for value in part.values():
                yield from walk(value)
        elif isinstance(part, list):
            for value in part:
                yield from walk(value)

    return next(walk(spec_of(found, key)))


def test_figure_1_stands_beside_the_papers_numbers(tmp_path):
    write(tmp_path, "interference", "a.json", json.dumps(experiment().to_dict()))
    found = read(tmp_path)
    assert found.left_out == ()
    rows = {row["what"]: (row["alone"], row["together"]) for row in rows_of(found, "interference-a")}
    assert rows == {
        "[1,1,8], here": (80.5, 71.0),
        "[1,1,8], paper": (87.45, 86.81),
        "[6,2,2], here": (81.5, 72.0),
        "[6,2,2], paper": (91.83, 89.84),
    }
    tables = papers.papers_of(kept.read(tmp_path, tmp_path / "report"), None, found)
    [table] = [one for one in tables if one.key == "mixture-figure-1"]
    assert [(row[0].text, row[1].text, row[-1].text, row[-1].link) for row in table.rows] == [
        ("[1,1,8], early pooling, alone", "87.45", "80.50", "../interference/a.json"),
        ("[6,2,2], late pooling, alone", "91.83", "81.50", "../interference/a.json"),
        ("[1,1,8], early pooling, together", "86.81", "71.00", "../interference/a.json"),
        ("[6,2,2], late pooling, together", "89.84", "72.00", "../interference/a.json"),
    ]


def test_without_it_the_page_says_how_to_run_it(tmp_path):
    tables = papers.papers_of(kept.read(tmp_path, tmp_path / "report"), None, Studies())
    [table] = [one for one in tables if one.key == "mixture-figure-1"]
    assert '--configs "[1,1,8]" "[6,2,2]"' in table.note


def test_whether_a_mixture_puts_apart_what_harms_each_other(tmp_path):
    configs = [str(config) for config in SPACE][:6]
    result = experiment(configs, alone=(), epochs=(None, 30))
    write(tmp_path, "interference", "a.json", json.dumps(result.to_dict()))
    chances = np.random.default_rng(1).dirichlet((0.3, 0.3), 36)
    order = list(reversed(range(36)))  # a mixture's configurations come sorted by their model
    mixing = Mixing(
        "mixture", "0", "x", (1,), tuple(str(SPACE[c]) for c in order), (0,) * 36,
        (tuple(tuple(chances[c].tolist()) for c in order),),
    )  # fmt: skip
    [one] = read(tmp_path, [mixing]).interference
    pairs = list(combinations(range(6), 2))
    wanted = [float(chances[a] @ chances[b]) for a, b in pairs]
    [shared] = one.shared
    assert shared.chances == pytest.approx(wanted)
    cosines = [result.looks[-1].cosines[a][b] for a, b in pairs]
    assert shared.tau == pytest.approx(kendalltau(cosines, wanted).statistic)
    rows = rows_of(read(tmp_path, [mixing]), "gradients-mixture")
    assert len(rows) == 15
    assert f"(tau {shared.tau:.2f})" in rows[0]["search"]
    assert [view.name for view in figures.studies(read(tmp_path))[0].views] == [
        "gradients after epoch 1",
        "gradients after epoch 60",
    ]


def test_the_heat_map_has_every_tau_of_the_matrix_costs_first(tmp_path):
    draw = np.random.default_rng(2)
    entrants = {
        f"zero_cost proxy={name}": [Ranking(SPACE.name, tuple(draw.standard_normal(36)))] for name in ("x", "y")
    }
    made = correlations(entrants, [TABLE])
    write(tmp_path, "correlations", "proxies.csv", made.csv())
    found = read(tmp_path)
    [matrix] = found.correlations
    assert matrix.names[:3] == ("MACs", "layers before the first pooling", "accuracy, published")
    for a, one in enumerate(matrix.names):
        for b, other in enumerate(matrix.names):
            wanted = made.taus[made.names.index(one)][made.names.index(other)]
            assert matrix.taus[a][b] == pytest.approx(wanted, abs=5e-5)
    macs = [matrix.taus[0][matrix.names.index(name)] for name in matrix.names[3:]]
    assert macs == sorted(macs, reverse=True)
    assert len(rows_of(found, "correlations-proxies")) == 25
    assert {row["a"] for row in rows_of(found, "correlations-proxies")} >= {"x", "y", "MACs"}


def test_simulated_searches_are_drawn_as_they_were_kept(tmp_path):
    made = simulate(TABLE, all_named(["random_search", "evolution"]), runs=10)
    made.write(tmp_path / "simulation")
    found = read(tmp_path)
    [study] = found.simulations
    told = made.to_dict()
    assert [one.optimizer for one in study.optimizers] == ["random_search", "evolution"]
    assert list(study.optimizers[1].mean) == told["optimizers"]["evolution"]["mean"]
    assert list(study.optimizers[1].high) == told["optimizers"]["evolution"]["q75"]
    assert list(study.expected) == told["random_search_expected_regret"]
    rows = rows_of(found, "simulation-regret")
    assert len(rows) == 200
    assert [view.name for view in figures.studies(found)[0].views] == ["regret", "mean rank", "how many found the best"]


def test_of_one_optimiser_there_are_no_ranks(tmp_path):
    simulate(TABLE, all_named(["random_search"]), runs=10).write(tmp_path / "simulation")
    assert "mean rank" not in [view.name for view in figures.studies(read(tmp_path))[0].views]


BROKEN = [
    "",
    "{",
    "[]",
    "null",
    '{"times": 3}',
    "a,b\nx,1\n",
    '"",a\na,2\n',
    '"",a,b\na,1,nan\nc,0,1\n',
    "\x00",
    "[" * 9000,
]


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("name", ["interference/x.json", "correlations/x.csv", "simulation/x.json"])
def test_a_broken_file_is_named_and_the_others_are_there(tmp_path, name, text):
    folder, _, file = name.partition("/")
    good = {
        "interference": json.dumps(experiment().to_dict()),
        "correlations": correlations({}, [TABLE]).csv(),
        "simulation": None,
    }[folder]
    if good is None:
        simulate(TABLE, all_named(["random_search"]), runs=10).write(tmp_path / folder)
    else:
        write(tmp_path, folder, f"good{file[1:]}", good)
    write(tmp_path, folder, file, text)
    found = read(tmp_path)
    assert len(found.interference) + len(found.correlations) + len(found.simulations) == 1
    [line] = found.left_out
    assert file in line
    assert "\n" not in line


def test_every_study_is_drawn_as_a_file(tmp_path):
    write(tmp_path, "interference", "a.json", json.dumps(experiment().to_dict()))
    write(tmp_path, "correlations", "c.csv", correlations({}, [TABLE]).csv())
    simulate(TABLE, all_named(["random_search", "evolution"]), runs=10).write(tmp_path / "simulation")
    drawn = list(files.draw(figures.studies(read(tmp_path)), tmp_path / "figures", ["svg"]))
    assert len(drawn) == 3 + 1 + 3
    assert all(path.read_text().count("<path") > 3 for path in drawn)
