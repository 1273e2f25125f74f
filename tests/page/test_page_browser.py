"""The page in a real Chromium, opened from disk without a network: charts, sorting, choosing, colours, widths."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import benchmark
from benchmark import report
from benchmark.scoring.correlations import correlations
from benchmark.scoring.interference import Interference, Look
from benchmark.scoring.ranking import Ranking, ranking_json
from benchmark.simulate import simulate
from benchmark.simulation.known import all_named
from benchmark.tables.files import write_table
from benchmark.tables.table import GroundTruth, Origin, Row

TABLE = benchmark.load_table("published")
SPACE = TABLE.space
MEANS = np.array(TABLE.means)
EVIL = "<img src=x onerror=alert(1)></script>"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--disable-component-update",
]


@pytest.fixture(scope="module")
def chromium():
    """A browser. Skips where none is at hand, or fails if NASBENCH_POOLING_CHROMIUM says that it must be there."""
    required = os.environ.get("NASBENCH_POOLING_CHROMIUM") == "required"
    place = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if place is None and not required:
        pytest.skip("no Chromium here: apt-get install chromium")
    if not required:
        pytest.importorskip("playwright", reason="playwright is not installed: pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=place, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A page with everything on it: two complete tables, one of them with seeds and curves, and searches of each kind."""
    out = tmp_path_factory.mktemp("results")
    (out / "rankings").mkdir()
    draw = np.random.default_rng(0)

    def keep(method, seed, scores, **history):
        curve = [{"epoch": e + 1, "images": 1000 * (e + 1), "scores": list(scores)} for e in range(2)]
        provenance = {"seed": seed, "device": "a machine", "timings": {"seconds": 7200.0 * (seed + 1)}}
        made = Ranking(SPACE.name, tuple(scores), None, "cifar10", method, {}, provenance, history | {"curve": curve})
        (out / "rankings" / f"{len(list((out / 'rankings').iterdir()))}.json").write_text(ranking_json(made))

    chances = [{"epoch": e, "p(m|c)": draw.dirichlet((1, 1), 36).tolist()} for e in (1, 2)]
    draws = [{"epoch": e, "p(c)": draw.dirichlet(np.ones(36)).tolist()} for e in (1, 2)]
    for seed in range(2):
        keep("good", seed, MEANS + 0.1 * draw.standard_normal(36), watched=chances)
    keep("poor", 0, -MEANS, watched=draws)
    keep(EVIL, 0, MEANS + 2 * draw.standard_normal(36), weights=[draw.dirichlet((1, 1, 1), 9).tolist()])
    values = {config: {s: 60 + place / 2 + s / 10 for s in range(2)} for place, config in enumerate(SPACE)}
    curves = {
        (config, s): dict.fromkeys(("train_loss", "train_accuracy", "test_loss", "test_accuracy"), (3.0, value))
        for config, seeds in values.items()
        for s, value in seeds.items()
    }
    own = [Row.of(config, seeds) for config, seeds in values.items()]
    write_table(GroundTruth.from_rows("own", SPACE, own, Origin("cifar10"), curves), out / "tables")
    looks = (Look(1, ((0.5, -0.25), (-0.25, 0.75))),)
    pair = Interference(
        SPACE.name, "cifar10", ("[1,1,8]", "[6,2,2]"), (0,), (1, 2), ((80.0,), (90.0,)), ((79.0,), (85.0,)), ((1.0,), (1.0,)),
        looks, ("paper", "0" * 12), ("a machine",),
    )  # fmt: skip
    (out / "interference").mkdir()
    (out / "interference" / "pair.json").write_text(json.dumps(pair.to_dict()))
    (out / "correlations").mkdir()
    (out / "correlations" / "all.csv").write_text(correlations({}, [TABLE]).csv())
    simulate(TABLE, all_named(["random_search", "local_search"]), runs=10).write(out / "simulation")
    report.main(["--out", str(out), "--formats"])
    return out / "report" / "index.html"


@pytest.fixture
def opened(chromium, page_file):
    """opened(width, scheme): the page, drawn. Whatever reaches the console, or asks a network, ends the test."""
    contexts, heard = [], []

    def open_page(width=1400, scheme="light"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or heard.append(asked.url))
        page.goto(page_file.as_uri())
        ready(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert heard == []


def ready(page):
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'", timeout=120_000)


def labels(page):
    rows = page.locator(".chapter:not([hidden]) .board tbody:not(.not-run) tr")
    return [row.get_attribute("data-label") for row in rows.all() if row.is_visible()]


@pytest.mark.parametrize("width", [380, 1400])
def test_every_chart_is_drawn_and_nothing_is_wider_than_the_screen(opened, width):
    page = opened(width)
    charts = [chart for chart in page.locator(".chart").all() if chart.is_visible()]
    assert len(charts) >= 7
    for chart in charts:
        box = chart.locator("svg.marks").bounding_box()
        assert box["width"] > 200
        assert box["height"] > 100
        assert chart.locator("svg.marks path").count() > 10
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    keep = os.environ.get("NASBENCH_POOLING_SCREENSHOTS")
    if keep:
        Path(keep).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(keep) / f"page-{width}.png"), full_page=True)


def test_every_view_of_every_figure_can_be_asked_for(opened):
    page = opened()
    for figure in page.locator("figure").all():
        if not figure.is_visible():
            continue
        for view in figure.locator("select.view option").all():
            key = view.get_attribute("value")
            figure.locator("select.view").select_option(key)
            page.wait_for_function(
                "key => [...document.querySelectorAll(`[data-drawn='${key}'].drawn svg.marks path`)].length > 5",
                arg=key,
            )


def test_a_column_sorts_down_and_up(opened):
    page = opened()
    first = labels(page)
    assert first[0] == "good"
    assert first[-1] == "poor"
    tau = page.locator(".chapter:not([hidden]) th[data-key=tau] button")
    tau.focus()
    page.keyboard.press("Enter")
    assert labels(page) == first[::-1]
    page.locator(".chapter:not([hidden]) th[data-key=label] button").click()
    assert labels(page) == sorted(first, key=str.lower)
    page.locator(".chapter:not([hidden]) th[data-key=hours] button").click()
    assert labels(page)[-1] == "counting MACs"  # what is not known comes last


def test_a_filter_hides_what_does_not_fit(opened):
    page = opened()
    page.locator(".chapter:not([hidden]) .find").fill("goo")
    assert labels(page) == ["good"]
    absent = page.locator(".chapter:not([hidden]) .not-run tr")
    page.locator(".chapter:not([hidden]) .find").fill("")
    assert absent.first.is_visible()
    page.locator(".chapter:not([hidden]) .absent").uncheck()
    assert not absent.first.is_visible()


def test_a_phone_is_spared_what_was_not_run_until_it_asks(opened):
    page = opened(380)
    absent = page.locator(".chapter:not([hidden]) .not-run tr").first
    assert not absent.is_visible()
    page.locator(".chapter:not([hidden]) .absent").check()
    assert absent.is_visible()


def test_two_chosen_rows_have_a_verdict_and_a_third_takes_the_firsts_place(opened):
    page = opened()
    told = page.locator(".chapter:not([hidden]) .verdict")
    boxes = {label: page.get_by_label(f"compare {label}", exact=True).locator("visible=true") for label in labels(page)}
    boxes["good"].check()
    assert "Choose another" in told.inner_text()
    boxes["poor"].check()
    assert told.inner_text().startswith("good is better than poor, also adjusted for all 6 verdicts (Holm): tau of")
    boxes[EVIL].check()
    assert not boxes["good"].is_checked()
    assert told.inner_text().startswith(f"{EVIL} is better than poor")


def test_another_table_has_its_own_board_and_charts(opened):
    page = opened()
    page.get_by_text("own", exact=True).first.click()
    ready(page)
    assert page.locator("article[data-table=own]").is_visible()
    assert not page.locator("article[data-table=published]").is_visible()
    assert page.locator("article[data-table=own] svg.marks").count() >= 3


def test_a_chosen_configuration_is_told(opened):
    page = opened()
    page.get_by_text("own", exact=True).first.click()
    ready(page)
    own = page.locator("article[data-table=own]")
    own.locator("[data-parameter=chosen]").select_option("[8,1,1]")
    detail = own.locator(".detail").inner_text()
    assert "[8,1,1], number 36" in detail
    assert "77.55 % ± 0.07, 2 seeds" in detail
    assert "1 of 36" in detail
    texts = own.locator("figure").last.locator("svg.marks text")
    page.wait_for_function("document.querySelector('article[data-table=own] figure:last-of-type svg.marks') !== null")
    assert "[8,1,1]" in texts.all_text_contents()
    dot = own.locator("figure").last.locator("svg.marks .mark-symbol path[aria-label*='[1,1,8]']").first
    dot.click(force=True)
    assert "[1,1,8], number 1" in own.locator(".detail").inner_text()


def test_a_seed_of_a_method_can_be_seen_alone(opened):
    page = opened()
    figure = page.locator("figure[data-figure=truth-published]")
    dots = figure.locator("svg.marks .mark-symbol").first.locator("path")
    page.wait_for_function("document.querySelector('figure[data-figure=truth-published] svg.marks') !== null")
    assert dots.count() == 72  # two seeds
    figure.locator("[data-parameter=seed]").select_option("1")
    page.wait_for_timeout(300)
    assert dots.count() == 36
    figure.locator("[data-parameter=method]").select_option("poor")
    page.wait_for_timeout(300)
    assert figure.locator("[data-parameter=seed]").input_value() == "all seeds"  # poor has no seed 1
    assert dots.count() == 36


def test_dark_where_the_system_or_the_reader_says_so(opened):
    def ground(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    def ink(page):
        return page.evaluate("getComputedStyle(document.querySelector('svg.marks .role-axis-label text')).fill")

    light, dark = opened(), opened(scheme="dark")
    assert ground(light) == "rgb(246, 247, 249)"
    assert ground(dark) == "rgb(15, 19, 24)"
    assert ink(light) == "rgb(28, 33, 40)"
    assert ink(dark) == "rgb(232, 236, 241)"
    light.locator("#theme").click()
    light.locator("#theme").click()
    assert ground(light) == "rgb(15, 19, 24)"
    light.emulate_media(media="print")
    assert ground(light) == "rgb(255, 255, 255)"


def test_a_page_without_a_ranking_works(chromium, tmp_path):
    report.main(["--out", str(tmp_path), "--formats"])
    context, heard = chromium.new_context(offline=True), []
    page = context.new_page()
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto((tmp_path / "report" / "index.html").as_uri())
    ready(page)
    assert labels(page) == ["counting MACs"]
    page.get_by_label("compare counting MACs").check()
    assert "Choose another row" in page.locator(".verdict").inner_text()
    assert page.locator("#studies, #pairs, #searches").count() == 0
    context.close()
    assert heard == []


def test_names_are_text_in_the_browser_too(opened):
    page = opened()
    assert EVIL in labels(page)
    assert page.locator("img").count() == 0


def hovered(page, figure, mark):
    """The tooltip of a mark, as {name: value}, once it has come."""
    place = page.locator(f"figure[data-figure='{figure}']")
    place.scroll_into_view_if_needed()
    place.locator("svg.marks").first.wait_for()
    place.locator(mark).first.hover(force=True)
    page.locator("#vg-tooltip-element.visible").wait_for()
    cells = page.locator("#vg-tooltip-element td").all_inner_texts()
    return dict(zip((cell.rstrip(":") for cell in cells[::2]), cells[1::2], strict=True))


def test_what_is_pointed_at_is_told(opened):
    page = opened()
    told = hovered(page, "configurations-published", "svg.marks .mark-symbol path[aria-label*='[6,2,2]']")
    assert told["config"] == "[6,2,2]"
    assert told["mean"] == "91.83"
    told = hovered(page, "truth-published", "svg.marks .mark-symbol path")
    assert told["label"] == "good"
    told = hovered(page, "interference-pair", "svg.marks .mark-symbol path[aria-label*='[1,1,8]']")
    assert (told["alone"], told["together"]) == ("80", "79")
    page.mouse.move(0, 0)
    page.locator("#vg-tooltip-element.visible").wait_for(state="hidden")


def test_a_tooltip_takes_the_colours_of_the_page_and_no_markup(opened):
    page = opened(scheme="dark")
    figure = page.locator("figure[data-figure=truth-published]")
    figure.locator("[data-parameter=method]").select_option(EVIL)
    page.wait_for_timeout(300)
    assert hovered(page, "truth-published", "svg.marks .mark-symbol path")["label"] == EVIL
    assert page.locator("#vg-tooltip-element img").count() == 0
    ground = page.evaluate("getComputedStyle(document.getElementById('vg-tooltip-element')).backgroundColor")
    assert ground == "rgb(23, 28, 35)"


def test_a_legend_entry_alone_keeps_its_line(opened):
    page = opened()
    figure = page.locator("figure[data-figure='simulation-published-macs']")
    figure.scroll_into_view_if_needed()
    figure.locator("svg.marks").wait_for()

    def strengths():
        lines = figure.locator("svg.marks .mark-line path").all()
        return sorted({line.get_attribute("opacity") or "1" for line in lines})

    before = strengths()
    figure.locator("svg.marks .role-legend-label text", has_text="local_search").click(force=True)
    page.wait_for_timeout(300)
    assert before != strengths()
    assert "0.15" in strengths()


def test_a_print_has_every_chart_and_all_that_is_folded(opened):
    page = opened(1000)
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    for one in page.locator("main details").all():
        if one.is_visible() and not one.evaluate("it => !!it.closest('.vega-embed')"):
            assert one.evaluate("it => it.open")
    charts = [chart for chart in page.locator(".chart").all() if chart.is_visible()]
    assert len(charts) >= 10
    assert all(chart.locator("svg.marks").count() == 1 for chart in charts)
    assert not page.locator(".controls").first.is_visible()
    for table in page.locator("table").all():  # every column that is printed has its head
        if table.is_visible():
            printed = "(it, i) => [...it.rows[i].cells].filter((cell) => cell.getClientRects().length).length"
            assert table.evaluate(f"it => ({printed})(it, 0)") == table.evaluate(f"it => ({printed})(it, 1)")
    keep = os.environ.get("NASBENCH_POOLING_SCREENSHOTS")
    if keep:
        page.pdf(path=str(Path(keep) / "page.pdf"))
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.meaning[open]").count() == 0
