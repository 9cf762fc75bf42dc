"""What a run found, as text."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from .packages import INSTALL

if TYPE_CHECKING:
    from collections.abc import Iterable

    Record = dict[str, Any]

OURS = "chainrule"


def stamp(about: Record) -> str:
    """Return the lines that say what ran where."""
    packages = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"date      {about['date']}",
        f"machine   {about['cpu']}, {about['cores']} cores, {about['platform']}",
        f"core      {about['isa']} kernels",
        f"versions  Python {about['python']}, {packages}",
    ]
    if about["missing"]:
        lines.append(f"missing   {', '.join(about['missing'])} ({INSTALL})")
    return "\n".join(lines)


def times(cell: Record) -> dict[str, float]:
    """Return the median seconds of every system that was measured."""
    return {name: r["median"] for name, r in cell["systems"].items() if "median" in r}


def best_peer(cell: Record) -> str | None:
    """Return the fastest system but ours."""
    peers = {name: seconds for name, seconds in times(cell).items() if name != OURS}
    return min(peers, key=peers.__getitem__, default=None)


def ratio(cell: Record, peer: str | None) -> float | None:
    """Return how many times as long a peer takes as chainrule."""
    measured = times(cell)
    if peer not in measured or OURS not in measured:
        return None
    return measured[peer] / measured[OURS]


def block(cell: Record) -> str:
    """Return a cell in full: a line a system, with reasons for those that have no time."""
    heading = cell["name"]
    if "roofline" in cell["systems"].get(OURS, {}):
        heading += f"   {cell['systems'][OURS]['roofline']:.0%} of the roofline"
    lines = [heading]
    for name, result in cell["systems"].items():
        if "median" in result:
            spread = (result["high"] - result["low"]) / 2 / result["median"]
            text = f"{result['median'] * 1e6:12.2f} µs  ±{spread:4.0%}"
            if (slower := ratio(cell, name)) is not None:
                text += f"  {slower:7.2f}×"
            text += f"  {_variants(result)}"
            if wrong := [name for name, e in result["errors"].items() if e > result["tolerance"]]:
                text += f", WRONG: {', '.join(wrong)}"
        else:
            text = f"{'':12}    {verdict(result)}"
        lines.append(f"  {name:<14}{text}")
    return "\n".join(lines)


def _variants(result: Record) -> str:
    """Return which variant was the fastest in the trial, and what the others took there."""
    others = [f"{n} {s * 1e6:.3g}" for n, s in result["trial"].items() if n != result["variant"]]
    return f"{result['variant']}" + (f" (in the trial: {', '.join(others)})" if others else "")


def verdict(result: Record) -> str:
    """Return in a line what became of a system: right, wrong, unsupported or failed."""
    status = result["status"]
    if status in ("unsupported", "failed"):
        return f"{status}: {result['reason'].strip().splitlines()[-1]}"
    errors = ", ".join(f"{variant} {error:.1e}" for variant, error in result["errors"].items())
    word = "WRONG" if status == "wrong" else status
    return f"{word}: error {errors}; at most {result['tolerance']:.1e}"


def table(cells: Iterable[Record]) -> str:
    """Return a line a cell: our time, and the ratio of each peer's to it."""
    cells = [cell for cell in cells if times(cell)]
    peers = [n for n in {n: 0 for c in cells for n in c["systems"]} if n != OURS]
    width = max((len(cell["name"]) for cell in cells), default=4)
    columns = {name: max(len(name), 6) for name in peers}
    heads = " ".join(f"{name:>{wide}}" for name, wide in columns.items())
    lines = [f"{'cell':<{width}} {'µs':>10} {heads}  {'best peer':<20} {'roofline':>8}"]
    for cell in cells:
        measured, best = times(cell), best_peer(cell)
        own = f"{measured[OURS] * 1e6:10.2f}" if OURS in measured else f"{'':10}"
        ratios = " ".join(_number(ratio(cell, name), wide) for name, wide in columns.items())
        text = f"{best} {_number(ratio(cell, best), 0)}×" if best else ""
        share = cell["systems"].get(OURS, {}).get("roofline")
        text = f"{text:<20} {f'{share:8.0%}' if share is not None else ''}"
        lines.append(f"{cell['name']:<{width}} {own} {ratios}  {text}".rstrip())
    return "\n".join(lines)


def _number(value: float | None, width: int) -> str:
    return f"{'':{width}}" if value is None else f"{value:{width}.{2 if value < 99.5 else 0}f}"


def means(cells: Iterable[Record]) -> str:
    """Return geometric means of the ratios to the best peer and to NumPy."""
    cells, lines = list(cells), []
    for title, training in (("inference", False), ("training", True)):
        chosen = [cell for cell in cells if cell["training"] is training]
        best = [r for c in chosen if (r := ratio(c, best_peer(c))) is not None]
        numpy = [r for c in chosen if (r := ratio(c, "numpy")) is not None]
        if best and numpy:
            lines.append(
                f"{title}, geometric mean: best peer {statistics.geometric_mean(best):.2f}× "
                f"({len(best)} cells), NumPy {statistics.geometric_mean(numpy):.2f}×"
            )
    return "\n".join(lines)


def single_calls(cell: Record) -> str:
    """Return the quantiles of single calls."""
    clock = f"{cell['clock'] * 1e6:.2f}"
    lines = [
        f"{cell['name']}, single calls in µs, of which the clock takes {clock}",
        f"{'':16}{'p50':>10}{'p99':>10}{'p99.9':>10}",
    ]
    for name, result in cell["systems"].items():
        figures = f"    {verdict(result)}"
        if "p50" in result:
            figures = "".join(f"{result[q] * 1e6:10.2f}" for q in ("p50", "p99", "p99.9"))
        lines.append(f"  {name:<14}{figures}")
    return "\n".join(lines)


def summary(found: Record) -> str:
    """Return what stands at the end of a run."""
    parts = [table(found["cells"]), means(found["cells"]), *map(single_calls, found["latency"])]
    return "\n\n".join(part for part in parts if part)


def learning_task(task: Record) -> str:
    """Return what is learned, in two lines."""
    cell = task["cell"]
    return (
        f"Fashion-MNIST, {cell['samples']} images, {'-'.join(map(str, cell['sizes']))}, "
        f"{cell['hidden']} and {cell['output']}, Adam 0.001, batch {cell['batch']}\n"
        f"seconds of training until {task['target']:.0%} of the test images are told right, "
        f"and after {task['epochs']} epochs"
    )


def learning(threads: int, results: Record) -> str:
    """Return a line a system: the time to the target, and what came of all epochs."""
    ours = results.get(OURS, {}).get("median")
    lines = [
        f"{f'threads: {threads}':<16}{'target s':>9} {'ratio':>7} {'epochs':>7}"
        f" {'epoch s':>8} {'all s':>8} {'accuracy':>9} {'first s':>8}"
    ]
    for name, result in results.items():
        if "total" not in result:
            lines.append(f"  {name:<14}    {verdict(result)}")
            continue
        seconds = result["median"]
        reached = f"{'never':>9} {'':7} {'':7}"
        if seconds is not None:
            slower = f"{seconds / ours:6.2f}×" if ours and name != OURS else ""
            reached = f"{seconds:9.3f} {slower:>7} {result['epochs']:7.0f}"
        lines.append(
            f"  {name:<14}{reached} {result['epoch']:8.3f} {result['total']:8.3f}"
            f" {result['accuracy']:9.2%} {result['first']:8.2f}  {result['variant']}"
        )
    return "\n".join(lines)


def search(results: Record) -> str:
    """Return a line a system: the time of a grid search, and the scores."""
    ours = results[OURS]
    lines = [
        f"GridSearchCV of MLPClassifier, {ours['fits']} fits of the digits, one thread",
        f"{'':16}{'s':>9} {'ratio':>7} {'best':>8} {'mean':>8}",
    ]
    for name, result in results.items():
        slower = "" if name == OURS else f"{result['seconds'] / ours['seconds']:6.2f}×"
        best = ", ".join(f"{key} {value}" for key, value in result["best_parameters"].items())
        lines.append(
            f"  {name:<14}{result['seconds']:9.3f} {slower:>7} {result['best_score']:8.4f}"
            f" {result['mean_score']:8.4f}  {best}"
        )
    return "\n".join(lines)


TAIL = ("p50", "p99", "p99.9", "max")


def tails(model: Record) -> str:
    """Return the quantiles of single calls of a model, and how many times ours the peers' are."""
    clock = model["clock"]
    lines = [
        f"{model['name']}: {'-'.join(map(str, model['sizes']))}, "
        f"{', '.join(model['activations'])}, {model['dtype']}",
        f"single calls in µs; the clock takes {clock['p50'] * 1e6:.2f} of them, "
        f"{clock['p99.9'] * 1e6:.2f} at p99.9",
    ]
    for name, result in model["systems"].items():
        variant = result.get("variant", "")
        lines.append(f"  {name:<14}{verdict(result)}{f'; {variant}' if variant else ''}")
    for circumstance, systems in model["circumstances"].items():
        heads = "".join(f"{head:>10}" for head in TAIL)
        lines.append(f"{circumstance:<28}{'calls':>10}{heads}{'calls/s':>12}{'p99.9':>9}")
        for name, result in systems.items():
            figures = "".join(f"{result[q] * 1e6:10.2f}" for q in TAIL)
            slower = ""
            if name != OURS and OURS in systems:
                slower = f"{result['p99.9'] / systems[OURS]['p99.9']:8.1f}×"
            lines.append(
                f"  {name:<26}{result['calls']:>10,}{figures}"
                f"{result['calls_per_second']:>12,.0f}{slower:>9}"
            )
    memory = model["memory"]
    if memory["growth"] is not None:
        lines.append(
            f"memory of {OURS} after {memory['calls']:,} more calls: {memory['growth']:+,} bytes"
        )
    return "\n".join(lines)
