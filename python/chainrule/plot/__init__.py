"""Pictures with matplotlib: learning curves, classes, layers and weights.

>>> from chainrule import plot
>>> plot.learning_curves(history)  # doctest: +SKIP
>>> plot.confusion_matrix(net, X_test, Y_test)  # doctest: +SKIP

Without an ``ax`` (or, where there are several panels, a ``figure``) each function draws into a new
figure of pyplot, which ``plt.show()`` displays. With one, pyplot is not touched. Nothing here
shows, saves or closes a figure, or changes ``rcParams``. Needs ``pip install "chainrule[plot]"``.
"""

from chainrule.plot.boundary import decision_boundary
from chainrule.plot.confusion import confusion_matrix
from chainrule.plot.curves import learning_curves
from chainrule.plot.images import weight_images
from chainrule.plot.layers import distributions

__all__ = [
    "confusion_matrix",
    "decision_boundary",
    "distributions",
    "learning_curves",
    "weight_images",
]
