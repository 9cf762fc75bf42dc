"""Pictures of a run: latency by network and batch, peers' ratios, roofline, single calls."""

from __future__ import annotations

import statistics
from importlib import import_module
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from . import report
from .peers import PEERS

if TYPE_CHECKING:
    from pathlib import Path

    Record = dict[str, Any]

QUANTILES = {"p50": 9, "p99": 6, "p99.9": 4}


def write(folder: Path, found: Record) -> None:
    """Write a PNG for each of the pictures that the run has data for."""
    cells = [cell for cell in found["cells"] if report.times(cell)]
    ours = [cell for cell in cells if report.OURS in report.times(cell)]
    pictures = {
        "latency": _latency(cells),
        "ratios": _ratios(ours),
        "roofline": _roofline(ours),
        "single_calls": _single_calls(found["latency"]),
    }
    for name, figure in pictures.items():
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")


def write_accuracy(folder: Path, found: Record) -> None:
    """Write the picture of a training: accuracy over seconds, a panel a number of threads."""
    panels = found["threads"]
    figure = _figure(5.2 * len(panels) + 0.6, 4.4)
    names: set[str] = set()
    axes = figure.subplots(1, len(panels), squeeze=False).flat
    for panel, (threads, results) in zip(axes, panels.items(), strict=True):
        for name, result in results.items():
            if "total" in result:
                names.add(name)
                panel.plot(*_course(result["rounds"]), **_style(name))
        panel.axhline(100 * found["task"]["target"], color="black", linewidth=0.8, linestyle="--")
        panel.set(title=f"threads: {threads}", xscale="log", xlabel="seconds of training")
        panel.grid(alpha=0.3, which="both")
    figure.supylabel("% of the test images told right")
    figure.suptitle("Fashion-MNIST, 784-256-128-10, Adam, batch 128: a marker an epoch")
    _legend(figure, names)
    figure.savefig(folder / "accuracy.png", dpi=110, bbox_inches="tight")


def _course(rounds: list[Record]) -> tuple[list[float], list[float]]:
    """Return seconds and percentages after every epoch, medians over rounds."""
    seconds = [statistics.median(column) for column in zip(*map(_sums, rounds), strict=True)]
    shares = zip(*(r["accuracy"] for r in rounds), strict=True)
    return seconds, [100 * statistics.median(column) for column in shares]


def _sums(one: Record) -> list[float]:
    return list(accumulate(one["seconds"]))


def _figure(width: float, height: float) -> Any:
    return import_module("matplotlib.figure").Figure((width, height), layout="constrained")


def _style(name: str) -> dict[str, Any]:
    ours = name == report.OURS
    return {
        "color": PEERS[name].colour,
        "marker": PEERS[name].marker,
        "markersize": 5,
        "linewidth": 2.2 if ours else 1.2,
        "zorder": 3 if ours else 2,
    }


def _legend(figure: Any, names: set[str], **line: Any) -> None:
    """Explain the colours of the systems below all panels."""
    lines = import_module("matplotlib.lines")
    shown = [name for name in PEERS if name in names]
    handles = [lines.Line2D([], [], label=name, **{**_style(name), **line}) for name in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def _latency(cells: list[Record]) -> Any:
    """Draw a panel a network: microseconds over batch, in float32 on one thread."""
    nets: dict[str, dict[int, dict[str, float]]] = {}
    for cell in cells:
        if (cell["training"], cell["dtype"], cell["threads"]) == (False, "float32", 1):
            nets.setdefault(_net(cell), {})[cell["batch"]] = report.times(cell)
    nets = {net: batches for net, batches in nets.items() if len(batches) > 1}
    if not nets:
        return None
    columns = min(4, len(nets))
    rows = -(-len(nets) // columns)
    figure = _figure(3.4 * columns + 0.6, 2.9 * rows + 0.8)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    names: set[str] = set()
    for panel, (net, batches) in zip(panels, nets.items(), strict=False):
        for name in PEERS:
            points = sorted((b, t[name] * 1e6) for b, t in batches.items() if name in t)
            if points:
                names.add(name)
                panel.plot(*zip(*points, strict=True), **_style(name))
        panel.set(title=net, xscale="log", yscale="log")
        panel.set_xticks(sorted(batches), [str(b) for b in sorted(batches)])
        panel.xaxis.minorticks_off()
        _microseconds(panel)
        panel.grid(alpha=0.3)
    for panel in list(panels):
        panel.set_axis_off()
    figure.supylabel("µs a call")
    figure.suptitle("Inference over batch, float32, 1 thread")
    _legend(figure, names)
    return figure


def _ratios(cells: list[Record]) -> Any:
    """Draw every peer's time in units of ours, a line a cell."""
    if not cells:
        return None
    figure = _figure(10, 0.2 * len(cells) + 1.8)
    panel = figure.subplots()
    names: set[str] = set()
    for row, cell in enumerate(cells):
        for name, seconds in report.times(cell).items():
            if name != report.OURS:
                names.add(name)
                panel.plot(
                    seconds / report.times(cell)[report.OURS],
                    row,
                    **{**_style(name), "linewidth": 0},
                )
    panel.axvline(1, color=PEERS[report.OURS].colour, linewidth=2)
    panel.set(xscale="log", xlabel="time of the peer / time of chainrule (right of 1: slower)")
    _name_rows(panel, cells)
    _legend(figure, names, linewidth=0)
    return figure


def _roofline(cells: list[Record]) -> Any:
    """Draw our share of the roofline, a bar a cell."""
    cells = [cell for cell in cells if "roofline" in cell["systems"][report.OURS]]
    if not cells:
        return None
    figure = _figure(9, 0.2 * len(cells) + 1.6)
    panel = figure.subplots()
    shares = [100 * cell["systems"][report.OURS]["roofline"] for cell in cells]
    colours = ["#1f77b4" if cell["training"] else "#d62728" for cell in cells]
    panel.barh(range(len(cells)), shares, color=colours, height=0.75)
    for row, share in enumerate(shares):
        panel.text(share + 0.7, row, f"{share:.0f}", va="center", fontsize=7)
    panel.axvline(100, color="black", linewidth=1)
    panel.set(
        xlim=(0, max(105, *shares)),
        xlabel="% of the time that the measured FMA rate or read rate allows",
        title="chainrule's share of the roofline: inference red, training blue",
    )
    _name_rows(panel, cells)
    return figure


def _single_calls(cells: list[Record]) -> Any:
    """Draw a panel a network: a line from p50 to p99.9 for every system, p99 between."""
    if not cells:
        return None
    figure = _figure(11, 2.8 * len(cells) + 0.4)
    panels = figure.subplots(len(cells), 1, squeeze=False).flat
    for panel, cell in zip(panels, cells, strict=True):
        measured = {name: r for name, r in cell["systems"].items() if "p50" in r}
        for at, (name, result) in enumerate(measured.items()):
            values = [result[quantile] * 1e6 for quantile in QUANTILES]
            panel.plot([at, at], [min(values), max(values)], color=PEERS[name].colour, linewidth=2)
            for (quantile, size), value in zip(QUANTILES.items(), values, strict=True):
                panel.plot(at, value, marker="o", markersize=size, color=PEERS[name].colour)
                panel.annotate(
                    f"{quantile}  {value:.3g}",
                    (at, value),
                    xytext=(8, -8 if quantile == "p50" else 0 if quantile == "p99" else 6),
                    textcoords="offset points",
                    fontsize=7,
                    va="center",
                )
        panel.set_xticks(range(len(measured)), list(measured))
        panel.set(yscale="log", ylabel="µs", title=f"{_net(cell)}, batch 1, float32, 1 thread")
        panel.set_xlim(-0.5, len(measured) - 0.2)
        panel.margins(y=0.12)
        _microseconds(panel)
        panel.grid(axis="y", alpha=0.3)
    figure.suptitle("Single calls, clock included: from p50 (large) over p99 to p99.9 (small)")
    return figure


def write_tails(folder: Path, models: list[Record]) -> None:
    """Write the picture of single calls: the share of calls that take longer, over the time."""
    columns = max(len(model["circumstances"]) for model in models)
    figure = _figure(3.6 * columns + 0.6, 3.0 * len(models) + 1.0)
    grid = figure.subplots(len(models), columns, squeeze=False, sharex="row", sharey=True)
    names: set[str] = set()
    for row, model in zip(grid, models, strict=True):
        for panel, (circumstance, found) in zip(row, model["circumstances"].items(), strict=True):
            for name, result in found.items():
                names.add(name)
                times, shares = result["exceeded"]
                style = {**_style(name), "marker": ""}
                panel.step([t * 1e6 for t in times], shares, where="pre", **style)
                panel.plot(result["p99.9"] * 1e6, 1e-3, "o", color=PEERS[name].colour, markersize=5)
            panel.set(title=f"{model['name']}, {circumstance}", xscale="log", yscale="log")
            panel.title.set_fontsize(9)
            panel.axhline(1e-3, color="black", linewidth=0.6, linestyle="--")
            panel.grid(alpha=0.3)
    for panel in grid[-1]:
        panel.set_xlabel("µs")
    figure.supylabel("share of calls that take longer (dashed: p99.9)", fontsize=10)
    _legend(figure, names, marker="")
    figure.savefig(folder / "tails.png", dpi=110, bbox_inches="tight")


def _microseconds(panel: Any) -> None:
    """Label a logarithmic axis with plain numbers, also where it spans less than a decade."""
    ticker = import_module("matplotlib.ticker")
    panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    panel.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    panel.yaxis.set_minor_locator(ticker.NullLocator())


def _name_rows(panel: Any, cells: list[Record]) -> None:
    panel.set_yticks(range(len(cells)), [cell["name"] for cell in cells], fontsize=7)
    panel.set_ylim(len(cells) - 0.4, -0.6)
    panel.grid(axis="x", alpha=0.3)


def _net(cell: Record) -> str:
    return f"{cell['family']} {'-'.join(map(str, cell['sizes']))}"
