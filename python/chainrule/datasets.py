"""Real data to train on: files that packages bring, nothing is downloaded."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.extras import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Split = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def load_digits(n_test: int = 360, seed: int = 0) -> Split:
    """Return the 1797 handwritten digits of scikit-learn, shuffled and split.

    Parameters
    ----------
    n_test : int
        Images that are set aside for testing.
    seed : int
        Fixes the split.

    Returns
    -------
    train_x, train_y, test_x, test_y : ndarray
        Images as float64 rows of 8 × 8 pixels, 0..16 scaled by (pixel - 5)/6 to about mean 0
        and standard deviation 1; and int64 labels 0..9.

    Raises
    ------
    ImportError
        Without scikit-learn; the message has the pip command.
    """
    x, y = require("sklearn.datasets", "demo").load_digits(return_X_y=True)
    order = _core.permutation(seed, 0, len(x))
    train, test = order[n_test:], order[:n_test]
    x = (x - 5) / 6
    return x[train], y[train], x[test], y[test]


def load_fashion_mnist(
    folder: str | os.PathLike[str] = "/usr/share/datasets/fashion-mnist",
) -> Split:
    """Return Fashion-MNIST: 70,000 images of clothes in ten classes (Xiao et al. 2017).

    Parameters
    ----------
    folder : path
        Where the four gzipped IDX files are.

    Returns
    -------
    train_x, train_y, test_x, test_y : ndarray of uint8
        Shapes (60000, 784), (60000,), (10000, 784), (10000,).

    Raises
    ------
    FileNotFoundError
        If a file is missing; Debian's package dataset-fashion-mnist brings them.
    ValueError
        If a file is damaged; the message names it.
    """
    return (
        _read_idx(folder, "train-images-idx3-ubyte.gz", (60000, 28, 28)),
        _read_idx(folder, "train-labels-idx1-ubyte.gz", (60000,)),
        _read_idx(folder, "t10k-images-idx3-ubyte.gz", (10000, 28, 28)),
        _read_idx(folder, "t10k-labels-idx1-ubyte.gz", (10000,)),
    )


def _read_idx(
    folder: str | os.PathLike[str], name: str, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Read an IDX file of bytes: 0, 0, 8 (bytes), the rank, the sizes as big-endian int32, data."""
    path = os.path.join(folder, name)
    try:
        with gzip.open(path) as file:
            content = file.read()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is missing; on Debian and Ubuntu: apt install dataset-fashion-mnist"
        ) from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
    if not content.startswith(header):
        raise ValueError(f"{path} does not start as an IDX file of bytes of shape {shape}")
    if len(content) != len(header) + int(np.prod(shape)):
        raise ValueError(f"{path} does not hold {int(np.prod(shape))} bytes of data")
    data = np.frombuffer(content, np.uint8, offset=len(header)).copy()
    images: NDArray[np.uint8] = data.reshape(shape[0], -1)
    return data if len(shape) == 1 else images
