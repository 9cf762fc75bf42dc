"""``Network.fit``: from its arguments to a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from chainrule import _core
from chainrule.inputs.arrays import as_samples, check
from chainrule.inputs.numbers import count
from chainrule.inputs.targets import Notice
from chainrule.metrics import resolve
from chainrule.optimizers import choose
from chainrule.optimizers.base import described
from chainrule.training.callbacks import Callbacks
from chainrule.training.checkpoint import Checkpoint
from chainrule.training.early_stopping import EarlyStopping, Monitor
from chainrule.training.measures import Measures
from chainrule.training.progress import Progress
from chainrule.training.regularization import Regularization
from chainrule.training.run import Run
from chainrule.training.sources import Arrays, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike

    from chainrule.inputs.arrays import Batch
    from chainrule.inputs.targets import Found
    from chainrule.metrics import Metric
    from chainrule.optimizers import LearningRate, Optimizer
    from chainrule.protocols import Sparse
    from chainrule.training.history import History
    from chainrule.training.regularization import Rates


def fit(network: _core.Network, X: Any, Y: Any, **arguments: Any) -> History:
    """Prepare a run, and train; see ``Network.fit``."""
    run = prepare(network, X, Y, **arguments)
    run.train()
    return run.history


def prepare(
    network: _core.Network,
    X: ArrayLike | Iterable[object],
    Y: ArrayLike | None,
    *,
    epochs: int,
    batch_size: int | None,
    learning_rate: LearningRate | None,
    optimizer: Optimizer | None,
    shuffle: bool,
    sample_weight: ArrayLike | None,
    class_weight: object,
    label_smoothing: float,
    dropout: Rates,
    validation_data: Sequence[ArrayLike | Sparse] | None,
    validation_split: float,
    metrics: Iterable[Metric],
    early_stopping: EarlyStopping | int | None,
    callbacks: Iterable[object],
    checkpoint: Checkpoint | str | os.PathLike[str] | None,
    resume: bool,
    progress: bool,
    threads: int | None,
    publish: Callable[[History], None],
) -> Run:
    """Check every argument, and return the run that they ask for.

    The arguments are those of ``Network.fit``; for `publish` see ``Run``.
    """
    optimizer = choose(learning_rate, optimizer)
    optimizer.bind(network)
    epochs = count(epochs, "epochs", least=0)
    batch_size = None if batch_size is None else count(batch_size, "batch_size")
    _core.check_threads(threads)
    called = Callbacks(callbacks)
    rule = _stopping_rule(early_stopping)
    metrics = _listed(metrics)
    notice = Notice()
    validation, doubtful = _validation(network, validation_data)
    regularization = Regularization.checked(network, label_smoothing, dropout)
    common = class_weight, regularization, threads, notice

    training: Batch | None = None
    source: Arrays | Stream
    if Y is None:
        _check_stream(sample_weight, validation_split, bool(metrics) and validation is None)
        source = Stream(network, X, epochs, *common)
    else:
        training = as_samples(cast("ArrayLike", X), Y, sample_weight)
        if validation_split:
            training, validation = _split(training, validation_split, validation)
        source = Arrays(network, training, batch_size, shuffle, *common)
        if validation_split:
            notice(check(network, *cast("Batch", validation), first_row=len(training[0])))
    notice(doubtful, "validation_data: ")
    measures = Measures(network, training, validation, metrics)
    monitor = _monitor(rule, measures, optimizer)
    run = Run(network, source, optimizer, epochs, measures, monitor, called, publish)
    if progress:
        run.listeners.append(Progress())
    _save_to(checkpoint, run, resume)
    publish(run.history)
    return run


def _monitor(
    rule: EarlyStopping | None, measures: Measures, optimizer: Optimizer
) -> Monitor | None:
    if rule is None:
        return None
    network = measures.network
    measures.check_name(rule.monitor, list(resolve(network, measures.metrics)))
    return Monitor(rule, network, optimizer.bind(network))


def _check_stream(sample_weight: object, validation_split: float, unmeasured: bool) -> None:
    if sample_weight is not None:
        raise ValueError("without Y, sample weights come with the batches: (x, y, sample_weight)")
    if validation_split:
        raise ValueError("validation_split needs arrays: give a stream validation_data")
    if unmeasured:
        raise ValueError("metrics of a stream need validation_data to be evaluated on")


def _save_to(
    checkpoint: Checkpoint | str | os.PathLike[str] | None, run: Run, resume: bool
) -> None:
    """Let `run` save, and take up the run that is in the file, if that is wanted."""
    if checkpoint is None:
        if resume:
            raise ValueError("resume=True needs checkpoint=, the path of the run to be continued")
        return
    from chainrule.training.resume import Saver, described_data, take_up

    if not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint)
    checkpoint.check_path()
    settings = {**described_data(run, checkpoint.path), **_settings(run)}
    if resume and os.path.exists(checkpoint.path):
        take_up(run, checkpoint.path, settings)
    run.listeners.append(Saver(checkpoint, settings, run))


def _settings(run: Run) -> Mapping[str, Any]:
    """Return what a run must have in common with the one that it continues."""
    network, source, measures = run.network, run.source, run.measures
    measured = bool(measures.metrics) or measures.validation is not None
    regularization = source.regularization
    return {
        **source.settings,
        "optimizer": described(run.optimizer),
        "learning_rate": _described_rate(run.optimizer.learning_rate),
        "label_smoothing": float(regularization.label_smoothing),
        "dropout": list(regularization.rates),
        "class_weight": source.class_weight and str(source.class_weight),
        "metrics": list(resolve(network, measures.metrics)) if measured else [],
        "early_stopping": run.monitor and repr(run.monitor.rule),
        "callbacks": run.callbacks.kinds(),
    }


def _described_rate(rate: LearningRate) -> str:
    """Return what tells another learning rate: of a function, its name."""
    text = repr(rate)
    return getattr(rate, "__qualname__", type(rate).__qualname__) if " at 0x" in text else text


def _listed(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    return (metrics,) if isinstance(metrics, str) or callable(metrics) else tuple(metrics)


def _stopping_rule(value: EarlyStopping | int | None) -> EarlyStopping | None:
    if value is None or isinstance(value, EarlyStopping):
        return value
    return EarlyStopping(count(value, "early_stopping"))


def _validation(
    network: _core.Network, data: Sequence[ArrayLike | Sparse] | None
) -> tuple[Batch | None, Found | None]:
    if data is None:
        return None, None
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise ValueError("validation_data must be (x, y) or (x, y, sample_weight)")
    try:
        x, *beside = data
        y, weight = cast("tuple[ArrayLike, ArrayLike | None]", (*beside, None)[:2])
        batch = as_samples(x, y, weight)
        found = check(network, *batch)
    except ValueError as error:
        raise ValueError(f"validation_data: {error}") from error
    return batch, found


def _split(data: Batch, share: float, validation: Batch | None) -> tuple[Batch, Batch]:
    """Return the first samples for training and the last ones, that share, for validation."""
    if validation is not None:
        raise ValueError("give validation_data or validation_split, not both")
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise ValueError(f"validation_split must be a share in [0, 1), got {share!r}")
    x, y, w = data
    n = len(x) - round(len(x) * share)
    if not 0 < n < len(x):
        raise ValueError(
            f"validation_split={share} of {len(x)} samples leaves none to train on or to validate"
        )
    parts = (
        (x[part], y[part], None if w is None else w[part]) for part in (slice(n), slice(n, None))
    )
    first, last = parts
    for what, (_, _, weight) in (("train on", first), ("validate", last)):
        if weight is not None and not weight.any():
            raise ValueError(f"validation_split leaves no sample with weight to {what}")
    return first, last
