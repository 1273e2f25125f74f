"""What of results/ is kept: all that its pages name. Whatever else lies there somebody's own runs have left, and no
test reads it."""

import re

from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "results"
PAGE = (RESULTS / "README.md").read_text(encoding="utf-8")
PAGES = PAGE + (RESULTS / "numerics" / "README.md").read_text(encoding="utf-8")
OURS = "resnet20-cifar10-paper-epochs10-2daccdc2036b"

# A search as the page writes it: `spos-3ce1627bba71-seed0` to 2
_SEARCHES = {
    stem: range(int(last or 0) + 1) for stem, last in re.findall(r"`([a-z_]+-[0-9a-f]{12})-seed0`(?: to (\d+))?", PAGE)
}
RANKINGS = [RESULTS / "rankings" / f"{stem}-seed{s}.json" for stem, seeds in sorted(_SEARCHES.items()) for s in seeds]
UNSCORED = sorted(RESULTS / name for name in re.findall(r"`(rankings/[a-z_]+-[0-9a-f]{12}-seed\d+\.json)`", PAGE))
SCORES = [
    RESULTS / "scores" / f"{stem}-seed{'-'.join(map(str, seeds))}-vs-{table}.json"
    for stem, seeds in sorted(_SEARCHES.items())
    for table in ("published", OURS)
]
LEDGERS = sorted(path for path in (RESULTS / "ledgers").iterdir() if path.name in PAGES)
TABLES = ["published", *(path.name for path in LEDGERS)]
PARTIAL = sorted({*re.findall(r"`(published-[a-z0-9-]+)`", PAGE)})  # of which the papers print a few cells
COMPARISONS = [
    path
    for path in sorted(RESULTS.glob("*/*-vs-*.json"))
    if path.parent.name in ("comparisons", "numerics") and {*path.stem.split("-vs-")} <= {*TABLES}
]


def _asked_on_the_page(sample: str, seed: str) -> bool:
    words = f"--sample {sample}" + (f" --seed {seed}" if seed != "0" else "") + " --together 1`"
    return words in PAGE


VERIFIED = [
    path
    for path in sorted((RESULTS / "verify").glob(f"{OURS}-sample*-seed*.json"))
    if _asked_on_the_page(*re.findall(r"\d+", path.stem.removeprefix(OURS)))
]
