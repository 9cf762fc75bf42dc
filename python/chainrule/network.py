"""The network a user holds: the C++ core with a constructor, training and conveniences."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import index
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from chainrule import _core
from chainrule import metrics as _metrics
from chainrule.activations import ACTIVATIONS
from chainrule.gradients import Gradients
from chainrule.inputs.arrays import real_array
from chainrule.inputs.targets import warn_of
from chainrule.inputs.weights import layers_of
from chainrule.optimizers import choose, rate_at
from chainrule.predictor import Predictor
from chainrule.training import fit as _fit
from chainrule.training.regularization import Regularization
from chainrule.uninterrupted import at_once, setting

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray
    from typing_extensions import Self

    from chainrule.explain import Explanation, Trace
    from chainrule.metrics import Metric
    from chainrule.optimizers import LearningRate, Optimizer
    from chainrule.protocols import Sparse
    from chainrule.training.callbacks import OnBatchEnd, OnEpochEnd
    from chainrule.training.checkpoint import Checkpoint
    from chainrule.training.early_stopping import EarlyStopping
    from chainrule.training.history import History
    from chainrule.training.regularization import Rates

    Callback = (
        Callable[["Network", History], bool | None] | OnEpochEnd["Network"] | OnBatchEnd["Network"]
    )
    ClassWeights = str | Mapping[int, float] | Sequence[float] | NDArray[Any]
    Initializer = Callable[[int, int, int], ArrayLike]
    Pullback = Callable[[ArrayLike], tuple[Gradients, NDArray[Any]]]

T = TypeVar("T")


# The loss of a network of given weights that comes without one, by its last activation.
LOSSES = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}


class Network(_core.Network):
    """A multilayer perceptron: a^l = g^l(W^l a^{l-1} + b^l) for l = 1..L, with a^0 = x.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input, then of every layer: n_0, n_1, …, n_L.
    activations : str or sequence of str, default "sigmoid"
        One name for all layers, or one a layer: identity, sigmoid, tanh, relu, leaky_relu
        (slope 0.01), elu (α = 1), selu, softplus, silu, gelu (with the error function),
        hardswish, and softmax in the last layer.
    loss : str, default "half_mse"
        Cost of one sample with outputs a and targets y; costs are means over samples.

        ===================== ================================================================
        half_mse              1/n_L Σ_j ½ (a_j - y_j)²
        mse                   1/n_L Σ_j (a_j - y_j)²
        sse                   Σ_j (a_j - y_j)²
        mae                   1/n_L Σ_j |a_j - y_j|
        huber                 1/n_L Σ_j h(a_j - y_j), h(d) = ½ d² if |d| <= 1 else |d| - ½
        cross_entropy         -Σ_j y_j log a_j; needs a softmax output; δ_j = a_j Σ_i y_i - y_j
        binary_cross_entropy  -1/n_L Σ_j (y_j log a_j + (1 - y_j) log(1 - a_j)); needs a sigmoid
                              output; δ_j = (a_j - y_j)/n_L
        ===================== ================================================================

        cross_entropy takes rows of probabilities (or labels), binary_cross_entropy numbers in
        [0, 1]: any other target is a ValueError, a row whose sum is off 1 by more than 0.001 a
        UserWarning. With the other losses, targets that the output activation cannot give (3.2
        of sigmoid, -1 of relu) are a UserWarning: they want an "identity" output.
    dtype : {"float32", "float64"}
        Type of the parameters and of all arithmetic.
    init : str or callable, default "auto"
        How the weights are drawn: glorot_uniform, glorot_normal, he_uniform, he_normal,
        lecun_normal, zeros; or a function ``(fan_out, fan_in, l) -> W`` of shape
        (fan_out, fan_in) for layer l = 1..L. "auto" is he_uniform for relu, leaky_relu, elu,
        silu, gelu and softplus, lecun_normal for selu, glorot_uniform for the others. Biases
        start at 0.
    bias : bool, default True
        Whether layers have a b.
    seed : int, optional
        In [0, 2**64). Fixes the initial weights, and in ``fit`` the order of samples and the units
        that dropout leaves out, on every machine. None draws one from the operating system; see
        ``.seed``.

    Attributes
    ----------
    sizes : tuple of int
    activations : tuple of str
        One a layer.
    loss : str
    dtype : numpy.dtype
    seed : int
    epoch : int
        Epochs that ``fit`` has completed.
    history : History or None
        Of the last ``fit``; what Ctrl-C or another exception leaves is here too.
    n_parameters : int
    weights, biases : tuple of ndarray
        Writable views of the parameters, no copies: ``weights[i]`` is W^{i+1}, of shape
        (n_{i+1}, n_i), row = to, column = from; ``biases`` is () with ``bias=False``.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be; the message says what was expected. Also if the
        network was made before, and ``__init__`` is called again.
    OverflowError, MemoryError
        If the parameters cannot be addressed, or do not fit into memory.

    Examples
    --------
    >>> net = Network([2, 3, 1], activations="tanh", seed=0)
    >>> net.predict([[0.5, -1.0]]).shape
    (1, 1)
    """

    _history: History | None = None

    def __init__(
        self,
        sizes: Sequence[int],
        activations: str | Sequence[str] = "sigmoid",
        loss: str = "half_mse",
        *,
        dtype: DTypeLike = "float32",
        init: str | Initializer = "auto",
        bias: bool = True,
        seed: int | None = None,
    ) -> None:
        sizes = _tuple("sizes", sizes)
        if isinstance(activations, str):
            activations = (activations,) * (len(sizes) - 1)
        activations = _tuple("activations", activations)
        if not all(isinstance(name, str) for name in (*activations, loss)):
            raise TypeError(f"activations and loss must be names, got {activations} and {loss!r}")
        seed = _checked_seed(seed)
        core = (sizes, activations, loss, _dtype_name(dtype), bool(bias), seed)
        if callable(init):
            # It may fail: until here __init__ may be called again.
            parameters = _drawn(_core.Network(*core), init)
            super().__init__(*core)
            self.set_parameters(parameters)
        else:
            schemes = _schemes(init, activations)
            super().__init__(*core)
            _core.initialize(self, schemes, seed)

    @classmethod
    def from_arrays(
        cls,
        pairs: Iterable[tuple[ArrayLike, ArrayLike | None]],
        activations: str | Sequence[str],
        loss: str | None = None,
        *,
        rows: str | None = None,
        dtype: DTypeLike | None = None,
        seed: int | None = None,
    ) -> Self:
        """Return a network with copies of weights and biases that came from elsewhere.

        Parameters
        ----------
        pairs : iterable of (W, b)
            Per layer the weights, a matrix, and the biases, a vector; None for a layer without.
        activations : str or sequence of str
            As for ``Network``.
        loss : str, optional
            By default cross_entropy after softmax, binary_cross_entropy after sigmoid, else
            half_mse.
        rows : {"outputs", "inputs"}, optional
            What a row of every W belongs to: "outputs" for W of shape (n_out, n_in), as PyTorch
            has it, "inputs" for (n_in, n_out), as Keras, Flax and scikit-learn have it. By
            default what the widths decide; a ValueError where both fit.
        dtype : {"float32", "float64"}, optional
            By default float64 if any of the arrays is, else float32.
        seed : int, optional
            As for ``Network``: of later training.

        Raises
        ------
        ValueError, TypeError
            If an array is not what it must be, widths do not follow one another, or numbers are
            not finite in `dtype`.

        Examples
        --------
        >>> net = Network.from_arrays(
        ...     [(np.ones((3, 2)), np.zeros(3)), (np.ones((1, 3)), None)], ["tanh", "identity"]
        ... )
        >>> net.sizes
        (2, 3, 1)
        """
        layers = layers_of(pairs, rows)
        if isinstance(activations, str):
            activations = (activations,) * len(layers)
        activations = _tuple("activations", activations)
        if dtype is None:
            wide = any(part is not None and part.dtype == np.float64 for p in layers for part in p)
            dtype = "float64" if wide else "float32"
        network = cls(
            [layers[0][0].shape[1], *(len(w) for w, _ in layers)],
            activations,
            loss or LOSSES.get(activations[-1] if activations else "", "half_mse"),
            dtype=dtype,
            init="zeros",
            bias=any(b is not None for _, b in layers),
            seed=seed,
        )
        with np.errstate(all="ignore"):  # refused below
            for place, (w, _) in zip(network.weights, layers, strict=True):
                place[...] = w
            for place, (_, b) in zip(network.biases, layers, strict=False):
                place[...] = 0.0 if b is None else b
        if bad := _core.nonfinite_layer(network):
            raise ValueError(f"layer {bad} has parameters that are not finite as {network.dtype}")
        return network

    # That ``train_step`` has left units out of.
    _dropout_samples = 0

    @property
    def history(self) -> History | None:
        """The history of the last ``fit``, also while it runs, and after it ended early."""
        return self._history

    # Training

    def fit(
        self,
        X: ArrayLike | Sparse | Iterable[object],
        Y: ArrayLike | None = None,
        *,
        epochs: int = 1,
        batch_size: int | None = 32,
        learning_rate: LearningRate | None = None,
        optimizer: Optimizer | None = None,
        shuffle: bool = True,
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeights | None = None,
        label_smoothing: float = 0.0,
        dropout: Rates = 0.0,
        validation_data: Sequence[ArrayLike | Sparse] | None = None,
        validation_split: float = 0.0,
        metrics: Iterable[Metric] = (),
        early_stopping: EarlyStopping | int | None = None,
        callbacks: Iterable[Callback] = (),
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        resume: bool = False,
        progress: bool = False,
        threads: int | None = None,
    ) -> History:
        """Train for some epochs.

        The order of samples in an epoch is a function of the seed, the epoch's number and n, so
        n calls of ``fit(epochs=1)`` give the same bits as one of ``fit(epochs=n)``.

        Parameters
        ----------
        X, Y : array_like
            Inputs of shape (n, n_0), and targets: values of shape (n, n_L), integer labels of
            shape (n,) with cross_entropy, or (n,) for (n, 1). Arrays of bool, integers, float32
            and float64 are read where they lie, also from ``np.memmap``; other real arrays are
            converted batch by batch; lists and data frames are made arrays first. X may be a sparse
            matrix of SciPy, which gives the bits of its dense copy and is never made dense.

            Without Y, X gives batches (x, y) or (x, y, sample_weight): an iterable that is run
            through once an epoch, such as a list or a DataLoader of PyTorch, or a function without
            arguments that returns a new one each time, such as a generator function. `batch_size`
            and `shuffle` are then not used.
        epochs : int, default 1
        batch_size : int or None, default 32
            Samples an update; the last batch of an epoch may be smaller. 1 is stochastic
            descent, None is full batch, which is not shuffled.
        learning_rate : float or callable, optional
            η of plain gradient descent, the same as ``optimizer=SGD(learning_rate)`` with a new
            SGD each call; or a function of the step, from 0. Give this or `optimizer`.
        optimizer : Optimizer, optional
            It keeps its state from call to call.
        shuffle : bool, default True
            Draw the batches in random order; False takes the samples as they come.
        sample_weight : array_like of shape (n,), optional
            wᵢ >= 0; the cost of a batch is Σ wᵢ Cᵢ / Σ wᵢ.
        class_weight : "balanced", dict or sequence, optional
            A weight for each class, by which the weights of its samples are multiplied. "balanced"
            is n / (k n_c) for a class of n_c of the n samples and k classes that appear; a dict
            leaves classes that it does not name at 1. With cross_entropy, or binary_cross_entropy
            and one output. It acts on the training alone. A stream takes no "balanced".
        label_smoothing : float, default 0
            ε in [0, 1): train with targets (1 - ε) y_j + ε/n_L (cross_entropy) or
            (1 - ε) y_j + ε/2 (binary_cross_entropy); other losses take none. History's costs are
            those of the smoothed targets, validation's of the given ones.
        dropout : float or sequence of float, default 0
            Probability in [0, 1) of leaving a unit out: one for all hidden layers, or one a hidden
            layer. What the others say is divided by 1 - p, so that ``predict`` needs no change
            (inverted dropout, Srivastava et al., 2014). Which units are left out is a function of
            the seed, the epoch, the sample's place in it, the layer and the unit.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Data to evaluate after every epoch.
        validation_split : float, default 0
            Instead: the share of the samples that is taken from the end, before shuffling, for
            validation. Arrays only.
        metrics : sequence of str or callable, optional
            What ``evaluate`` takes, measured after every epoch on the validation data, or on the
            training data where there is none. By default those that fit the loss, of validation
            data.
        early_stopping : EarlyStopping or int, optional
            When to stop before the last epoch; an int is the patience.
        callbacks : sequence, optional
            Functions ``(network, history)`` called after every epoch; or objects with a method
            ``on_epoch_end(network, history)``, ``on_batch_end(network, epoch, step, cost)`` or
            both, the latter called after every update with the batch's cost before it; epoch and
            step count from 1. One that returns True ends the training, within an epoch without
            that epoch in the history. They may call everything but ``fit``, which a process that is
            forked in one may call too: it has a network of its own. With ``state_dict()``
            and ``load_state_dict(state)`` (of what JSON can hold) they are part of checkpoints.
        checkpoint : path-like or Checkpoint, optional
            Save all that the run needs to be resumed, after every epoch or as the Checkpoint says,
            and when an exception, Ctrl-C included, ends it.
        resume : bool, default False
            Go on from the checkpoint if there is one: the result has the bits of a run that was
            never interrupted, also where that was within an epoch. `epochs` counts from the start
            of the first run. Data and settings must be the same (ValueError otherwise), threads
            need not. All samples, targets and weights are compared, by a SHA-256. The network takes
            over weights, seed and epoch counter. A stream is asked for all batches of the epoch
            again, and those done before are skipped; they must be the same (their SHA-256 is
            compared), those after them cannot be checked.
        progress : bool, default False
            Show a bar on stderr (``pip install "chainrule[progress]"``); a line an epoch without
            tqdm, or where stderr is no terminal.
        threads : int, optional
            At most so many threads; the results do not depend on it.

        Returns
        -------
        History
            Also ``network.history``, which an exception leaves as far as it came.

        Raises
        ------
        ValueError, TypeError
            If an argument is wrong, data are not finite, or the loss refuses a target; nothing
            has changed then. A bad batch of a stream is named, and the steps before it are kept.
        DivergenceError
            If the training leaves the finite numbers; weights and optimiser state are then
            those at the epoch's start.
        OSError
            If a checkpoint cannot be written: before training where its path does not allow it;
            later, the one before is whole, and the network keeps what it has learnt.
        RuntimeError
            If ``fit`` is already running on this network.
        KeyboardInterrupt
            On Ctrl-C; the weights are those of the last completed step.

        Warns
        -----
        UserWarning
            Once, of the first doubtful targets: see the losses of ``Network``.
        """
        return _core.fit_alone(
            self,
            _fit.fit,
            self,
            X,
            Y,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            optimizer=optimizer,
            shuffle=shuffle,
            sample_weight=sample_weight,
            class_weight=class_weight,
            label_smoothing=label_smoothing,
            dropout=dropout,
            validation_data=validation_data,
            validation_split=validation_split,
            metrics=metrics,
            early_stopping=early_stopping,
            callbacks=callbacks,
            checkpoint=checkpoint,
            resume=resume,
            progress=progress,
            threads=threads,
            publish=partial(object.__setattr__, self, "_history"),
        )

    def train_step(
        self,
        x: ArrayLike | Sparse,
        y: ArrayLike,
        *,
        learning_rate: LearningRate | None = None,
        optimizer: Optimizer | None = None,
        sample_weight: ArrayLike | None = None,
        label_smoothing: float = 0.0,
        dropout: Rates = 0.0,
    ) -> float:
        """Do one update from one batch, and return the batch's cost before it.

        Parameters
        ----------
        x, y, sample_weight : array_like
            As for ``cost``.
        learning_rate, optimizer
            As for ``fit``: exactly one of them.
        label_smoothing : float, default 0
            As for ``fit``.
        dropout : float or sequence of float, default 0
            As for ``fit``. No two steps leave out the same units: the samples of all steps with
            dropout count as those of one epoch. Copies and pickles keep the count, files do not.

        Raises
        ------
        ValueError, TypeError
            If an argument is wrong, the data are not finite, or the loss refuses a target;
            nothing has changed then. An update that leaves the finite numbers is not undone:
            ``fit`` does that.
        """
        state = None
        if learning_rate is not None and optimizer is None:  # plain descent: SGD without a state
            rate = rate_at(learning_rate, 0)
        else:
            optimizer = choose(learning_rate, optimizer)
            state = optimizer.bind(self)
            rate = optimizer.rate_at(state.step)
        if type(dropout) is float and dropout == 0:  # most: a step of a small network is quick
            return _core.step(self, x, y, sample_weight, state, rate, None, None, label_smoothing)[
                0
            ]
        regularization = Regularization.checked(self, label_smoothing, dropout)
        arguments = regularization.arguments(self, self._dropout_samples)
        step = partial(_core.step, self, x, y, sample_weight, state, rate, None, None, *arguments)
        if not regularization.rates:
            return step()[0]
        shape = np.shape(x)
        samples = self._dropout_samples + (shape[0] if len(shape) == 2 else 1)
        (cost, _), _ = at_once(
            map(partial.__call__, (step,)), setting(self, "_dropout_samples", samples)
        )
        return cast("float", cost)

    def apply(self, gradients: Gradients, optimizer: Optimizer) -> None:
        """Do one update from gradients that came from elsewhere, ``vjp`` for instance."""
        if not isinstance(gradients, Gradients):
            raise TypeError(f"gradients must be Gradients, got {type(gradients).__name__}")
        optimizer = choose(None, optimizer)
        state = optimizer.bind(self)
        rate = optimizer.rate_at(state.step)
        weights, biases = (
            [real_array(part, "every gradient") for part in parts]
            for parts in (gradients.weights, gradients.biases)
        )
        with np.errstate(all="ignore"):  # as everywhere: an overflow is infinite, and no warning
            _core.update(self, weights, biases, state, rate)

    # Derivatives and their parts

    def gradients(
        self,
        x: ArrayLike | Sparse,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        label_smoothing: float = 0.0,
    ) -> Gradients:
        """Return the mean cost C and its derivatives ∇W^l = δ^l (a^{l-1})ᵀ and ∇b^l = δ^l.

        Both are means over samples, or Σ wᵢ (…)ᵢ / Σ wᵢ with sample weights. The arguments are
        those of ``cost``.
        """
        return Gradients(*_core.gradients(self, x, y, sample_weight, label_smoothing))

    def vjp(self, x: ArrayLike | Sparse) -> tuple[NDArray[Any], Pullback]:
        """Return a^L, and a function that takes ∂C/∂a^L through the network: any loss of yours.

        Returns
        -------
        a : ndarray of shape (n, n_L), or (n_L,) for a 1-D x
        pullback : callable
            ``pullback(dC_da)``, with an array of the shape of `a`, returns ``(Gradients,
            dC_dx)``. Gradients are sums over rows, with no 1/n, and their cost is None. It
            raises RuntimeError if the parameters were changed by a method since.
        """
        a, tape = _core.record(self, x)

        def pullback(dC_da: ArrayLike) -> tuple[Gradients, NDArray[Any]]:
            weights, biases, dC_dx = tape.pullback(dC_da)
            return Gradients(None, weights, biases), dC_dx

        return a, pullback

    def trace(self, x: ArrayLike, y: ArrayLike) -> Trace:
        """Return every quantity of back-propagation: W, b, a, z, C, ∂C/∂a, g', δ, ∇W and ∇b.

        Parameters
        ----------
        x, y : array_like
            One sample, a 1-D x; or a batch.

        Returns
        -------
        Trace
            The quantities as attributes; printed, all of them in order, with symbols and shapes.
        """
        from chainrule.explain import trace

        return trace(self, x, y)

    def explain(
        self,
        x: ArrayLike,
        y: ArrayLike,
        layer: int,
        to: int,
        from_: int | None = None,
        *,
        depth: int | None = 1,
    ) -> Explanation:
        """Take the derivative with respect to one weight or bias apart, for one sample.

        ∂C/∂w_jk = ∂C/∂a_j · ∂a_j/∂z_j · ∂z_j/∂w_jk, with j = `to` in layer l and k = `from_` in
        layer l - 1; in a hidden layer ∂C/∂a_j = Σ_q w_qj δ_q over the neurons q of layer l + 1.

        Parameters
        ----------
        x, y : array_like
            One sample: a 1-D x, or a single row.
        layer : int
            l = 1..L.
        to, from_ : int
            j and k, counted from 0. Without `from_` it is the bias: ∂C/∂b_j = δ_j.
        depth : int or None
            How many layers after l have their errors δ_q taken apart too: 1 explains each of the
            sum above, None goes on to the output, 0 gives their numbers alone.

        Returns
        -------
        Explanation
            The terms as attributes; printed, the whole calculation.

        Raises
        ------
        IndexError
            If there is no such weight.
        ValueError
            If there are several samples, or a bias is asked for and there are none.
        """
        from chainrule.explain import explain

        with np.errstate(all="ignore"):
            return explain(self, x, y, layer, to, from_, depth)

    def check_gradients(self, x: ArrayLike | Sparse, y: ArrayLike) -> float:
        """Compare back-propagation with central differences, in float64.

        Returns
        -------
        float
            ‖g - ĝ‖₂ / (‖g‖₂ + ‖ĝ‖₂) over all parameters: below 1e-7 where the cost is smooth.
            The time is some 8 evaluations of the cost for every parameter.
        """
        from chainrule.explain.gradient_check import check_gradients

        with np.errstate(all="ignore"):
            return check_gradients(self, x, y)

    # Inspection

    def evaluate(
        self,
        x: ArrayLike | Sparse,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        metrics: Iterable[Metric] = (),
    ) -> dict[str, float]:
        """Return the cost and metrics.

        Parameters
        ----------
        x, y, sample_weight : array_like
            As for ``cost``, in any number of samples: they are taken in slices.
        metrics : sequence of str or callable, optional
            Names of functions in ``chainrule.metrics`` ("accuracy", "f1", "rmse" …,
            "top_5_accuracy"), or functions ``(y, a) -> float`` of all targets and outputs.
            By default those that fit the loss: "accuracy" with cross_entropy (the share of samples
            whose largest output is the target's class) and binary_cross_entropy (the share of
            outputs on the target's side of 1/2); otherwise "mae", the mean |a - y|, and "r2", the
            mean over outputs of 1 - Σ (y - a)² / Σ (y - ȳ)².

        Returns
        -------
        dict
            "cost", then the metrics by name.
        """
        with np.errstate(all="ignore"):
            results, found = _metrics.evaluate(self, x, y, sample_weight, metrics)
        warn_of(found)
        return results

    def summary(self) -> None:
        """Print layers, shapes, activations, parameters and memory."""
        rows = [("layer", "weights", "activation", "parameters")]
        rows.append(("0", f"{self.sizes[0]} inputs", "", ""))
        for layer, (w, activation) in enumerate(
            zip(self.weights, self.activations, strict=True), start=1
        ):
            count = w.size + (len(w) if self.has_bias else 0)
            rows.append((f"{layer}", f"{w.shape[0]} x {w.shape[1]}", activation, f"{count:,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            *texts, number = (f"{cell:<{n}}" for cell, n in zip(row, widths, strict=True))
            print("  ".join([*texts, f"{number.strip():>{widths[-1]}}"]).rstrip())
        biases = "with biases" if self.has_bias else "without biases"
        print(f"{self.n_parameters:,} parameters, {biases}, {self.dtype.name}")
        print(f"{self.nbytes:,} bytes; loss {self.loss}, seed {self.seed}, epoch {self.epoch}")

    def __repr__(self) -> str:
        bias = "" if self.has_bias else ", bias=False"
        return (
            f"{type(self).__name__}({list(self.sizes)}, activations={list(self.activations)}, "
            f"loss='{self.loss}', dtype='{self.dtype.name}'{bias}, seed={self.seed})"
            f"  # {self.n_parameters:,} parameters"
        )

    # Parameters and copies

    def freeze(self) -> Predictor:
        """Return an immutable copy for serving, which gives the same bits."""
        return Predictor(self)

    def with_input_scaling(self, mean: ArrayLike, scale: ArrayLike) -> Network:
        """Return a copy that takes raw features: its first layer does (x - mean)/scale itself.

        For serving a network that was trained on standardised features:
        W¹ ← W¹/scale by columns, b¹ ← b¹ - W¹ mean/scale, computed in float64 and rounded once.
        The outputs equal those for scaled features within rounding.

        Parameters
        ----------
        mean, scale : array_like of shape (n_0,), or a number
            ``mean_`` and ``scale_`` of a fitted ``sklearn.preprocessing.StandardScaler``, for
            instance.

        Raises
        ------
        ValueError, TypeError
            If they have another shape, are not finite, or a scale is 0.
        """
        from chainrule.stack import behind_scaling

        arrays = behind_scaling(self, mean, scale).arrays()
        network = Network.from_arrays(
            *arrays, self.loss, rows="outputs", dtype=self.dtype, seed=self.seed
        )
        _core.set_counters(network, self.seed, self.epoch)
        return network

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a safetensors file, replacing it in one step if it exists.

        The header holds architecture, seed, epoch counter, and a SHA-256 over all of it. A process
        that is killed while it saves leaves ``.chainrule-<16 hex digits>.tmp`` in the folder.
        Nothing removes it, since it could be another process's, still being written; delete it
        when none is saving there.

        A file that is replaced hands on owner, group, mode, POSIX ACL and ``user.*`` attributes, as
        far as this process may set them. Where the owner cannot be kept, the new file belongs to
        the saver. Where the group cannot be kept, group and others have the permissions that both
        had, and the ACL goes; where the ACL alone cannot be kept, only the owner has any. So nobody
        gains a permission. A symbolic link stays one; other hard links keep the old contents.

        Raises
        ------
        OSError, ValueError
            If the file cannot be written, or `path` is a folder, pipe or device, or no path at all;
            what was there before is untouched.
        """
        from chainrule.files.network import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a network that ``save`` wrote, or the one in a checkpoint of ``fit``.

        Raises
        ------
        ValueError
            If it is not such a file, or is damaged; the message names file and reason.
        OSError
            If there is no such file, or it cannot be read.
        """
        from chainrule.files.open import load

        return load(path, cls._restore)

    def __reduce__(self) -> tuple[Any, ...]:
        architecture = (self.sizes, self.activations, self.loss, self.dtype.name, self.has_bias)
        core = (*architecture, self.seed, self.epoch)
        return self._restore, (core, self.get_parameters()), vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "_seed" in state:  # a pickle that was made before the core kept them
            _core.set_counters(self, state.pop("_seed"), state.pop("_epoch"))
        vars(self).update(state)

    @classmethod
    def _restore(cls, core: Sequence[Any], parameters: NDArray[Any]) -> Self:
        """Rebuild the core for pickles, copies and files, which then set the attributes.

        A subclass's ``__init__`` is not called, whatever its arguments are.
        """
        network: Self = cls.__new__(cls)
        _core.Network.__init__(network, *core)
        network.set_parameters(parameters)
        return network


def _drawn(network: _core.Network, init: Initializer) -> NDArray[Any]:
    """Return all parameters of `network`, a new one, with the weights that `init` returns."""
    for layer, w in enumerate(network.weights, start=1):
        n_out, n_in = w.shape
        drawn = real_array(init(n_out, n_in, layer), f"init of layer {layer}")
        if drawn.shape != w.shape:
            raise ValueError(
                f"init of layer {layer} must return shape {w.shape}, got {drawn.shape}"
            )
        with np.errstate(all="ignore"):
            w[...] = drawn
        if not np.isfinite(w).all():
            raise ValueError(f"init of layer {layer} returned numbers that are not finite")
    return network.get_parameters()


def _schemes(init: str, activations: Iterable[str]) -> list[str]:
    """Return the name of each layer's initializer."""
    if init != "auto" and init not in _core.INITIALIZERS:
        raise ValueError(
            f"init must be one of auto, {', '.join(_core.INITIALIZERS)}, or a function, "
            f"got {init!r}"
        )
    if init != "auto":
        return [init for _ in activations]
    # An unknown activation is the core's to refuse.
    return [ACTIVATIONS[a].initializer if a in ACTIVATIONS else "zeros" for a in activations]


def _tuple(name: str, values: Iterable[T]) -> tuple[T, ...]:
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} must be a sequence, got {values!r}")
    return tuple(values)


def _dtype_name(dtype: DTypeLike) -> str:
    if dtype is not None:  # which NumPy would take for float64
        for name in ("float32", "float64"):
            with contextlib.suppress(TypeError):  # not a dtype at all
                if np.dtype(dtype) == name:
                    return name
    raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")


def _checked_seed(seed: int | None) -> int:
    if seed is None:
        return int.from_bytes(os.urandom(8), "little") >> 1
    if not hasattr(seed, "__index__"):
        raise TypeError(f"seed must be an integer in [0, 2**64), got {seed!r}")
    if not 0 <= index(seed) < 2**64:
        raise ValueError(f"seed must be an integer in [0, 2**64), got {seed}")
    return index(seed)
