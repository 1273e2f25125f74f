"""Figures of searches of widths, from planted records: each number where it belongs, and what is broken passed over."""

import json

import pytest

from benchmark.page import channel_figures
from benchmark.page.files import draw
from benchmark.spaces.space import load_space

SPACE = load_space()


def values(chart):
    """All rows of data of a chart, layers and all."""
    found = []

    def walk(part):
        if isinstance(part, dict):
            if isinstance(part.get("values"), list) and part["values"] and isinstance(part["values"][0], dict):
                found.extend(part["values"])
            for inner in part.values():
                walk(inner)
        elif isinstance(part, list):
            for inner in part:
                walk(inner)

    walk(chart.to_dict(validate=False))
    return found


def keep(path, said):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(said))


def trial(number, widths, ranks, slope):
    sides = [[[[rank, 1.0, 0.1], [3 * rank, 1.0, 0.1]] for rank in epoch] for epoch in ranks]
    decisions = {name: {"from": width, "to": width + 2, "slope": slope, "why": "grows"} for name, width in widths.items()}  # fmt: skip
    return {"trial": number, "widths": widths, "convolutions": ["stem", "body"], "curves": {"sides": sides}, "decisions": decisions if slope else {}}  # fmt: skip


def row(name, parameters, mean):
    return {"contender": name, "parameters": [parameters, parameters], "macs": [4_000_000, 6_000_000], "seconds": 7.5, "accuracy": {"mean": mean, "low": mean - 1, "high": mean + 1}}  # fmt: skip


@pytest.fixture
def out(tmp_path):
    place = tmp_path / "channels"
    for seed, name in enumerate(("a", "b")):
        keep(place / name / "search.json", {"network": "resnet20", "dataset": "cifar10", "delta": 0.02, "seed": seed, "recipe_hash": "x"})  # fmt: skip
        keep(place / name / "trials" / "000.json", trial(0, {"stem": 8, "body": 16}, [[0.1, 0.2]], 0.03))
        keep(place / name / "trials" / "001.json", trial(1, {"stem": 10, "body": 18}, [[0.1, 0.2], [0.2, 0.3]], None))
    rows = [row("search, delta 0.02", 40_000, 60.0), row("baseline", 90_000, 61.0), row("static scaling, 20%", 70_000, 59.0)]  # fmt: skip
    keep(place / "evaluations" / "r" / "judged-abc.json", {"network": "resnet20", "dataset": "cifar10", "rows": rows})
    for number, config in enumerate(["[1,1,8]", "[4,3,3]", "[8,1,1]", "[5,3,2]"]):
        curves = {"rank": [0.1 * number, 0.4 - 0.1 * number], "test_accuracy": [1, 50.0 + number]}
        record = {"space": SPACE.name, "config": config, "test_accuracy": 50.0 + number, "curves": curves}
        keep(tmp_path / "ledgers" / "table" / "records" / f"{number:03d}-seed0.json", record)
    return tmp_path


def by_key(out):
    return {figure.key: figure for figure in channel_figures.figures_of(out)}


def test_there_is_a_figure_for_all_that_was_left_and_each_can_be_drawn(out, tmp_path):
    found = by_key(out)
    kinds = ["ranks", "slopes", "widths", "accuracy", "static", "follows"]
    assert [key.split("-")[1] for key in found] == kinds
    drawn = [path.name for path in draw(found.values(), tmp_path / "figures", ["svg"])]
    assert len(drawn) == 3 * 2 + 2 + 3 + 1
    assert all((tmp_path / "figures" / name).stat().st_size > 1000 for name in drawn)
    for figure in found.values():
        for view in figure.views:
            assert view.page is None or view.page().to_dict(validate=False)


def test_a_search_is_drawn_as_its_records_say(out):
    found = by_key(out)
    ranks, slopes, widths = (values(found[f"channel-{name}"].views[0].page()) for name in ("ranks", "slopes", "widths"))
    mine = "resnet20, cifar10, delta 0.02, seed 1"
    assert {r["search"] for r in ranks} == {"resnet20, cifar10, delta 0.02, seed 0", mine}
    # of the last trial; the mean of r and 3 r
    seen = [(r["convolution"], r["epoch"], r["rank"]) for r in ranks if r["search"] == mine]
    assert seen == [("stem", 1, 0.2), ("stem", 2, 0.4), ("body", 1, 0.4), ("body", 2, 0.6)]
    assert [(r["name"], r["trial"], r["width"], r["slope"]) for r in slopes if r["search"] == mine] == [("stem", 1, 8, 0.03), ("body", 1, 16, 0.03)]  # fmt: skip
    assert [(r["name"], r["trial"], r["width"]) for r in widths if r["search"] == mine] == [("stem", 1, 8), ("body", 1, 16), ("stem", 2, 10), ("body", 2, 18)]  # fmt: skip
    assert found["channel-ranks"].controls[0].options == ("resnet20, cifar10, delta 0.02, seed 0", mine)


def test_contenders_lie_at_their_parameters_macs_and_seconds(out):
    found = by_key(out)
    accuracy = next(figure for key, figure in found.items() if key.startswith("channel-accuracy"))
    static = next(figure for key, figure in found.items() if key.startswith("channel-static"))
    parameters, macs = (values(view.page())[:3] for view in accuracy.views)
    assert [(r["label"], r["cost"], r["mean"], r["low"]) for r in parameters] == [("search, delta 0.02", 40, 60, 59), ("baseline", 90, 61, 60), ("static scaling, 20%", 70, 59, 58)]  # fmt: skip
    assert [r["cost"] for r in macs] == [5, 5, 5]  # millions, in the middle of the draws
    assert {r["label"] for r in values(static.views[0].page())} == {"baseline", "static scaling, 20%"}
    assert [view.name for view in static.views] == ["by parameters", "by MACs", "by seconds"]


def test_rank_is_held_against_final_accuracy_epoch_by_epoch(out):
    rows = values(by_key(out)["channel-follows-table"].views[0].page())
    said = {(r["measure"], r["epoch"], r["of"]): r["value"] for r in rows}
    # accuracies rise 50 to 53; ranks rise in the first epoch and fall in the second
    assert said["tau", 1, "mean rank"] == said["Spearman", 1, "mean rank"] == 1
    assert said["tau", 2, "mean rank"] == said["Spearman", 2, "mean rank"] == -1
    # MACs rise from [1,1,8] over [4,3,3] and [5,3,2] to [8,1,1]: of six pairs one is the other way round
    assert said["tau", 1, "counting MACs"] == pytest.approx(4 / 6, abs=1e-5)
    assert said["Spearman", 2, "counting MACs"] == pytest.approx(0.8)


def test_counting_macs_is_dashed_as_the_words_below_say(out):
    figure = by_key(out)["channel-follows-table"]
    assert "dashed lines are what counting" in figure.meaning
    lines, dots = figure.views[0].page().to_dict()["layer"]
    dash = lines["encoding"]["strokeDash"]
    solid, dashed = dash["scale"]["range"]
    assert dash["scale"]["domain"] == ["mean rank", "counting MACs"]
    assert solid[1] == 0 < dashed[1]
    assert "strokeDash" not in dots["encoding"]  # whose legend would show dots for both


def test_ranks_that_are_all_alike_are_in_no_order(out):
    """As after an epoch of a few steps, when they are all 0."""
    for path in (out / "ledgers" / "table" / "records").glob("*.json"):
        record = json.loads(path.read_text())
        record["curves"]["rank"][0] = 0.0
        path.write_text(json.dumps(record))
    rows = values(by_key(out)["channel-follows-table"].views[0].page())
    said = {(r["measure"], r["epoch"], r["of"]) for r in rows}
    assert said == {(m, e, of) for m in ("tau", "Spearman") for e, of in ((1, "counting MACs"), (2, "counting MACs"), (2, "mean rank"))}  # fmt: skip


def test_what_is_broken_is_passed_over_and_of_nothing_there_is_nothing(out, tmp_path):
    keep(out / "channels" / "c" / "search.json", {"network": 3})
    (out / "channels" / "d").mkdir()
    (out / "channels" / "d" / "search.json").write_text("{")
    keep(out / "channels" / "evaluations" / "r" / "judged-zzz.json", {"rows": [{"contender": "x"}]})
    keep(out / "ledgers" / "other" / "records" / "0.json", [1])
    assert len(channel_figures.figures_of(out)) == 6
    assert channel_figures.figures_of(tmp_path / "nothing") == []
