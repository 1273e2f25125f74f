"""Draws what `measure` wrote: cost over configurations, over processes at once and over batch sizes; and `scoring`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import UsageError

COLOURS = {"ours": "tab:blue", "plain": "tab:orange", "compiled": "tab:green"}


def lacking() -> str | None:
    """What to say where nothing can be drawn; None where all is there."""
    try:
        require_matplotlib()
    except UsageError as error:
        return f"no {error}"
    return None


def draw(path: Path) -> list[Path]:
    """One PNG beside the JSON at `path` for each thing that it holds; the same bytes for the same file."""
    result = json.loads(path.read_text(encoding="utf-8"))
    drawn = [_configurations(result, path.with_name(f"{path.stem}-configurations.png"))]
    if "growth" in result:
        drawn.append(_processes(result, path.with_name(f"{path.stem}-processes.png")))
        drawn.append(_batch_sizes(result, path.with_name(f"{path.stem}-batch-sizes.png")))
    return drawn


def draw_scoring(path: Path) -> Path:
    """Seconds and memory of what `scoring` wrote to the JSON at `path`, over C; the same bytes for the same file."""
    import matplotlib.pyplot as plt

    result = json.loads(path.read_text(encoding="utf-8"))
    figure, (times, memory) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    colours = {"score": "tab:blue", "verdict": "tab:orange", "compare": "tab:green"}
    for axes, key, unit in ((times, "seconds", 1.0), (memory, "peak_memory_bytes", 1e6)):
        for what, by_size in result["scoring"].items():
            sizes = [int(size) for size in by_size]
            axes.plot(sizes, [facts[key] / unit for facts in by_size.values()], color=colours[what], label=what)
            dots = [(one["size"], one[key] / unit) for one in result["measurements"] if one["what"] == what]
            axes.scatter(*zip(*dots, strict=True), s=22, color=colours[what], alpha=0.6)
        axes.set(xscale="log", yscale="log", xlabel="configurations C")
        axes.set_xticks(sizes := [int(size) for size in result["scoring"]["score"]], [f"{size:,}" for size in sizes])
        axes.minorticks_off()
    last = result["scoring"]["score"][str(sizes[-1])]["seconds"]
    cost = [size * np.log2(size) for size in sizes]
    times.plot(sizes, [last * c / cost[-1] for c in cost], color="0.75", linestyle="--", label="C log C")
    times.set_ylabel("seconds")
    memory.set(ylabel="peak memory of the process, MB", yscale="linear", ylim=(0, None))
    times.legend(fontsize=8)
    machine, versions = result["hardware"], result["versions"]
    quick = ", quick: not to be quoted" if result["quick"] else ""
    figure.suptitle(
        f"tables of {result['seeds']} seeds, {result['draws']} draws, n = {result['rounds']}; {machine['cpu']}, "
        f"numpy {versions['numpy']}, scipy {versions['scipy']}{quick}",
        fontsize=9,
    )
    target = path.with_suffix(".png")
    figure.savefig(target, dpi=130, metadata={"Software": None})
    plt.close(figure)
    return target


def _axes() -> tuple[Any, Any]:
    figure = new_figure(7, 4.5)
    return figure, figure.subplots()


def _save(figure: Any, axes: Any, path: Path) -> Path:
    axes.set_ylim(bottom=0)
    axes.title.set_fontsize(9)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    return path


def _where(result: Mapping[str, Any]) -> str:
    machine = result["hardware"]
    beside = f", beside {result['beside']} busy" if result["beside"] else ""
    quick = ", quick: not to be quoted" if result["quick"] else ""
    return f"{machine['cpu']}, {machine['cores']} cores{beside}, torch {result['torch']}{quick}"


def _configurations(result: Mapping[str, Any], path: Path) -> Path:
    """Milliseconds per trained image against MACs: every round a dot, the line through the medians."""
    figure, axes = _axes()
    training = result["training"]
    rows = training["by_config"]
    mmacs = [row["mmacs"] for row in rows.values()]
    for side, n in training["n"].items():
        colour = COLOURS.get(side, "0.5")
        for config, row in rows.items():
            rates = [
                found["images_per_second"]
                for found in result["measurements"]
                if (found["side"], found["what"], found["processes"], found["batch_size"])
                == (side, config, result["hardware"]["cores"], result["recipe"]["batch_size"])
            ]
            axes.scatter([row["mmacs"]] * len(rates), [1e3 / rate for rate in rates], s=22, color=colour, alpha=0.6)
        medians = [1e3 / row["images_per_second"][side] for row in rows.values()]
        slope, intercept = np.polyfit(mmacs, medians, 1)
        ends = np.array([min(mmacs), max(mmacs)])
        ratio = (
            f"; over the 36 it takes {training['ratio'][side]:.2f} times as long" if side in training["ratio"] else ""
        )
        axes.plot(ends, intercept + slope * ends, color=colour, label=f"{side} (n = {n}{ratio})")
    for config, row in rows.items():
        highest = 1e3 / min(row["images_per_second"].values())
        axes.annotate(config, (row["mmacs"], highest), (0, 6), textcoords="offset points", fontsize=5.5, ha="center")
    axes.set(
        xlabel="MACs per image, millions",
        ylabel="ms per trained image, all cores",
        title=f"training, milliseconds per image = a + b MACs\n{_where(result)}",
    )
    axes.legend(loc="upper left", fontsize=8)
    return _save(figure, axes, path)


def _processes(result: Mapping[str, Any], path: Path) -> Path:
    """Images per second of all processes together, and what as many single ones would give."""
    figure, axes = _axes()
    growth, cores = result["growth"], result["hardware"]["cores"]
    numbers, rates = [int(key) for key in growth["processes"]], list(growth["processes"].values())
    ideal = [rates[0] * min(k, cores) / numbers[0] for k in numbers]
    axes.plot(numbers, ideal, color="0.75", linestyle="--", label="one process times x, up to the cores")
    axes.plot(numbers, rates, marker="o", color=COLOURS["ours"], label="ours")
    axes.set(
        xlabel="processes at once, one thread each",
        ylabel="trained images/s, together",
        xticks=numbers,
        title=f"{growth['config']}, batch {result['recipe']['batch_size']}, n = 1\n{_where(result)}",
    )
    axes.legend(loc="lower right", fontsize=8)
    return _save(figure, axes, path)


def _batch_sizes(result: Mapping[str, Any], path: Path) -> Path:
    figure, axes = _axes()
    growth = result["growth"]
    sizes, rates = [int(key) for key in growth["batch_size"]], list(growth["batch_size"].values())
    axes.plot(range(len(sizes)), rates, marker="o", color=COLOURS["ours"])
    axes.set(
        xlabel="batch size",
        ylabel="trained images/s, all cores",
        title=f"{growth['config']}, one process per core, n = 1\n{_where(result)}",
    )
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    return _save(figure, axes, path)


def require_matplotlib() -> None:
    """Loads matplotlib for figures that go to files. Raises UsageError where it is not installed.

    The backend that a notebook asks for by a variable decides nothing: this environment may lack it, and matplotlib
    then refuses to load at all.
    """
    asked = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("figures need matplotlib: pip install matplotlib") from None
    finally:
        if asked is not None:
            os.environ["MPLBACKEND"] = asked


def new_figure(width: float, height: float) -> Any:
    """A figure that no window shows: files only, whatever backend this environment asks for."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
