"""Where and how often ``fit`` saves; what and how is in ``chainrule.training.resume``."""

from __future__ import annotations

import math
import os

from chainrule.inputs.numbers import count


class Checkpoint:
    """Where and how often ``fit`` saves what it needs to be resumed.

    It saves at the end, and when an exception ends it (Ctrl-C, an error in a stream or callback;
    not DivergenceError): the state after the last completed step. The file is replaced in one
    step: at any moment it is whole, the old or the new one. Nothing in it is executable.

    Parameters
    ----------
    path : path-like
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

    def check_folder(self) -> None:
        """Raise OSError now, not after an hour of training, where no file can be written."""
        folder = os.path.dirname(os.path.realpath(self.path))
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"checkpoint: there is no folder {folder!r}")
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"checkpoint: the folder {folder!r} cannot be written to")
        if os.path.isdir(self.path):
            raise IsADirectoryError(f"checkpoint: {self.path!r} is a folder, expected a file")
