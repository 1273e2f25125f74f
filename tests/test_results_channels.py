"""Searches of widths that are kept: decisions follow from what was measured, and the page says what the records say."""

import json
import re

import pytest

from benchmark.channels.judge import judged, table
from benchmark.channels.reading import readers
from benchmark.channels.reading import said as said_by
from benchmark.channels.rules import ChannelRecipe, Moving, moved
from benchmark.channels.search import Subject
from benchmark.channels.trial import epochs_of
from benchmark.provenance import checksum
from tests.conftest import REPOSITORY
from tests.kept import PAGE, RESULTS

CHANNELS = RESULTS / "channels"
SEARCHES = sorted(path.parent for path in CHANNELS.glob("*/result.json"))
TRAINED = [folder for folder in SEARCHES if folder.name.startswith("resnet20-cifar10-")]  # and judged
FILES = sorted(CHANNELS.glob("evaluations/*/judged-*.json"))
SECTION = PAGE.partition("## Widths of ResNet20")[2].partition("\n## ")[0]
TOLD = re.findall(r"The table is `(judged-[0-9a-f]{12})`", SECTION)
JUDGED = [path for path in FILES if path.stem in TOLD]
EARLIER = [path for path in FILES if path.stem not in TOLD]  # of fewer seeds, kept for who has it


def read(path):
    return json.loads(path.read_text())


def trials_of(folder):
    return [read(path) for path in sorted((folder / "trials").glob("*.json"))]


def records_of(path):
    """Of what is judged: the network as it comes is there twice, and counts as trained for its ranks."""
    found = {one.stem: read(one) for one in path.parent.glob("*-seed*.json")}
    return [record for stem, record in sorted(found.items()) if f"{stem}-sides" not in found]


def test_there_is_something_to_hold_the_page_to():
    assert len(SEARCHES) == 4
    assert len(JUDGED) == len(EARLIER) == 1
    assert all(f"`{path.stem}`" in SECTION for path in FILES)


@pytest.mark.parametrize("folder", SEARCHES, ids=lambda path: path.name)
def test_every_trial_is_whole_and_its_decisions_follow_from_its_slopes(folder):
    said, result, trials = read(folder / "search.json"), read(folder / "result.json"), trials_of(folder)
    recipe = ChannelRecipe.stated(said["recipe"], said["recipe_hash"])
    assert len(trials) == recipe.trials
    states = {name: Moving(width, recipe.phi) for name, width in trials[0]["widths"].items()}
    for trial in trials:
        assert trial["checksum"] == checksum(trial)
        assert not trial["provenance"]["git_dirty"]
        assert trial["widths"] == {name: state.width for name, state in states.items()}
        assert {len(curve) for curve in trial["curves"].values()} == {recipe.epochs}
        for name, decision in trial["decisions"].items():
            states[name] = moved(states[name], decision["slope"], decision["condition"], said["delta"], recipe)
    assert result["widths"] == {name: state.width for name, state in states.items()}
    assert [h["parameters"] for h in result["history"]] == [trial["parameters"] for trial in trials]


@pytest.mark.parametrize("folder", SEARCHES, ids=lambda path: path.name)
def test_the_page_says_what_a_search_found(folder):
    result = read(folder / "result.json")
    trials = ", ".join(f"{h['parameters']:,}" for h in result["history"])
    widths = list(result["widths"].values())
    row = (
        f"| `{'-'.join(folder.name.split('-')[:2])}` | {result['delta']:g} | {trials} | {result['macs'] / 1e6:.1f} | {min(widths)} to {max(widths)} "
        f"| {result['seconds']:.0f} |"
    )
    assert row in SECTION


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_page_has_the_table_that_the_records_give(path):
    said, told = read(path), path in JUDGED
    results = {f"search, delta {r['delta']:g}": r for r in map(read, (folder / "result.json" for folder in TRAINED))}
    widths = {json.dumps(r["widths"], sort_keys=True): name for name, r in results.items()}
    rows = {row["contender"]: row for row in said["rows"]}
    for line in table(said["rows"]) if told else ():
        assert line in SECTION
    records = [r for r in records_of(path) if r["seed"] < rows["baseline"]["seeds"]]
    if not told:  # fewer were trained then
        known = {number for row in rows.values() for number in row["parameters"]}
        records = [r for r in records if r["parameters"] in known]
    named = {}
    for record in records:
        assert record["checksum"] == checksum(record)
        assert not record["provenance"]["git_dirty"]
        assert record["recipe"] == said["recipe"]
        name = widths.get(json.dumps(record["widths"], sort_keys=True))
        if name is None:  # a control: by what it has of parameters
            name = next(n for n, row in rows.items() if record["parameters"] in row["parameters"] and not n.startswith("search"))  # fmt: skip
        named[name, name, record["seed"]] = record
    assert len(named) == len(records)
    again = {row["contender"]: row for row in judged(named, list(results))}
    if not told:  # the baseline was trained again since: the same to the bit, in another time
        for row in (*again.values(), *rows.values()):
            del row["seconds"]
    assert again == rows
    for name, result in results.items():  # controls have as many parameters as what was found
        for row in rows.values():
            if row["contender"].endswith(f"parameters of {name}"):
                assert row["parameters"][0] == pytest.approx(result["parameters"], rel=0.01)
    assert not told or said["command"] in SECTION.replace("    ", "")


def test_the_page_says_how_many_seeds_there_are():
    (path,) = JUDGED
    seeds = {row["seeds"] for row in read(path)["rows"]}
    words = {1: "one seed", 2: "two seeds", 3: "three seeds"}
    (found,) = re.findall(r"\*\*What it says, with (\w+ seeds?)", SECTION)
    assert {found} == {words[number] for number in seeds}


def test_the_page_says_what_the_searches_cost_in_macs_and_how_far_compound_scaling_lies():
    (path,) = JUDGED
    rows = {row["contender"]: row for row in read(path)["rows"]}
    words = " ".join(SECTION.split())
    macs = {}
    for delta in ("0.005", "0.02"):
        mine, scaled = (rows[name] for name in (f"search, delta {delta}", f"compound scaling, parameters of search, delta {delta}"))  # fmt: skip
        macs[delta] = mine["macs"][0] / 1e6, scaled["macs"][0] / 1e6
        assert macs[delta][0] > 2 * macs[delta][1]
    (a, b), (c, d) = macs["0.005"], macs["0.02"]
    assert f"{a:.1f} million where compound scaling has {b:.1f}, and {c:.1f} where it has {d:.1f}" in words
    for other, told in (("compound scaling", "by {:.2f} points at delta 0.005 and by {:.2f} at 0.02"), ("random widths", "by {:.2f} and {:.2f}")):  # fmt: skip
        found = [rows[f"{other}, parameters of search, delta {delta}"]["against"][f"search, delta {delta}"] for delta in macs]  # fmt: skip
        assert {one["verdict"] for one in found} == {"unresolved"}
        assert all(one["mean"] < 0 for one in found)
        assert told.format(*(-one["mean"] for one in found)) in words
    resolved = {
        (name, other): word["mean"]
        for name, row in rows.items()
        for other, word in row["against"].items()
        if word["verdict"] != "unresolved"
    }
    assert len(resolved) == 2
    for (name, other), mean in resolved.items():  # the search, which is `other`, is ahead where it is the larger one
        assert (mean > 0) == (rows[other]["parameters"][0] > 1.5 * rows[name]["parameters"][0])
        assert (mean < 0) == (rows[name]["parameters"][0] > 1.5 * rows[other]["parameters"][0])


def test_what_the_page_says_of_static_scaling():
    (path,) = JUDGED
    rows = {row["contender"]: row for row in read(path)["rows"]}
    words = " ".join(SECTION.split())
    static = [row for name, row in rows.items() if name.startswith("static")]
    verdicts = [word["verdict"] for row in static for word in row["against"].values()]
    assert verdicts == ["unresolved"] * 10
    found, scaled = rows["search, delta 0.005"], rows["static scaling, 60%"]
    (fewer,), (more,) = ({*row["parameters"]} for row in (scaled, found))
    assert f"{fewer:,} for {more:,}, a quarter of the MACs, " in words
    macs = [row["macs"][0] / 1e6 for row in (scaled, found)]
    assert macs[0] == pytest.approx(macs[1] / 4, rel=0.01)
    assert f"{macs[0]:.1f} million for {macs[1]:.1f}, and {scaled['against']['search, delta 0.005']['mean']:.2f} points less" in words  # fmt: skip
    assert f"hardly anything is left: {static[-1]['parameters'][0]:,} parameters" in words


def test_the_baseline_that_was_trained_again_for_its_ranks_is_the_same_to_the_bit():
    (path,) = JUDGED
    pairs = [(read(one), read(one.with_stem(one.stem.removesuffix("-sides")))) for one in path.parent.glob("*-sides.json")]  # fmt: skip
    assert len(pairs) == 3
    for again, before in pairs:
        again["curves"].pop("sides")
        assert again["curves"] == before["curves"]


def test_how_much_the_choice_of_sides_moves_slopes_as_the_page_of_searches_says():
    """Of the kept search of ResNet34: what its records say of each width by the published map and by the general rule."""
    (folder,) = (folder for folder in SEARCHES if folder.name.startswith("resnet34"))
    variables = Subject("resnet34", "cifar", 10, 32).graph().variables
    release, general = (readers(variables, "resnet34", sides) for sides in ("release", "general"))
    other = [v.name for v in variables if release[v.name] != general[v.name]]
    delta = read(folder / "search.json")["delta"]
    moved, turned = [], 0
    for trial in trials_of(folder):
        history = epochs_of(trial["convolutions"], trial["curves"]["sides"])
        for name in other:
            published, ours = (said_by(history, rule[name]).slope for rule in (release, general))
            if name in trial["decisions"]:
                assert trial["decisions"][name]["slope"] == pytest.approx(published, rel=1e-5)
            moved.append(abs(ours - published))
            turned += (ours < delta) != (published < delta)
    words = " ".join((REPOSITORY / "docs" / "search_widths.md").read_text().split())
    by = f"by {sum(moved) / len(moved):.4f} on average and by {max(moved):.4f} at most"
    assert f"{by}, and {turned} of {len(moved)} fall on the other side" in " ".join(SECTION.split())
    assert f"{len(other)} of {len(variables)} widths" in words
    assert by in words
    assert f"delta is {delta:g}" in words
    assert f"{turned} of {len(moved)} slopes" in words
    cells = Subject("darts7", "cifar", 10, 32).graph().variables
    release, general = (readers(cells, "darts7", sides) for sides in ("release", "general"))
    assert [name for name in release if release[name] != general[name]] == ["stem0.0"]
