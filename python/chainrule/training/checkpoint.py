"""Where and how often ``fit`` saves; what and how is in ``chainrule.training.resume``."""

from __future__ import annotations

import errno
import math
import os

from chainrule.inputs.numbers import count


class Checkpoint:
    """Where and how often ``fit`` saves what it needs to be resumed.

    It saves at the end, and when an exception ends it (Ctrl-C, an error in a stream or callback;
    not DivergenceError): the state after the last completed step. The file is replaced in one
    step: at any moment it is whole, the old or the new one. Nothing in it is executable.

    A resumed run checks that data and settings are those that the checkpoint was made with: a
    SHA-256 over all samples, targets and weights, read once when ``fit`` begins (1.8 GB/s on a
    processor with SHA instructions); of a stream, a SHA-256 over the batches of the epoch that was
    interrupted, as far as it was. What cannot be checked: the batches of a stream after that; what
    functions of your own do (metrics, callbacks without ``state_dict``; of a learning rate, what
    it gives for updates still to come).

    Parameters
    ----------
    path : path-like
        Kept as `path`. Where no file can be saved there, ``fit`` raises OSError or ValueError
        before it trains.
    every_epochs : int or None, default 1
        Save after so many epochs.
    every_seconds : float, optional
        Save when so much time has passed, also within an epoch, between two steps.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every_epochs: int | None = 1,
        every_seconds: float | None = None,
    ) -> None:
        self.path = os.fsdecode(path)
        self.every_epochs = None if every_epochs is None else count(every_epochs, "every_epochs")
        if every_seconds is not None and not 0 < every_seconds < math.inf:
            raise ValueError(f"every_seconds must be above 0 and finite, got {every_seconds!r}")
        self.every_seconds = every_seconds

    def __repr__(self) -> str:
        return (
            f"Checkpoint({self.path!r}, every_epochs={self.every_epochs}, "
            f"every_seconds={self.every_seconds})"
        )

    def check_path(self) -> None:
        """Raise OSError or ValueError now, not after an hour of training, where it cannot save."""
        from chainrule.files.target import check_replaceable

        try:
            if os.path.isdir(self.path):
                raise IsADirectoryError(errno.EISDIR, "Is a folder, expected a file", self.path)
            check_replaceable(self.path)
        except OSError as error:
            raise OSError(error.errno, f"checkpoint: {error.strerror}", self.path) from error
        except ValueError as error:
            raise ValueError(f"checkpoint: {error}") from error
