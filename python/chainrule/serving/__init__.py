"""Answer many requests with one call, without changing an answer.

A row's result does not depend on the batch it is in, so requests of different clients may share
one call of ``predict``: each gets the bits that it would have got alone.

>>> import chainrule as cr
>>> from chainrule.serving import Batcher
>>> batcher = Batcher(cr.Network([4, 8, 3], seed=0).freeze())
>>> batcher.predict([0.1, 0.2, 0.3, 0.4]).shape  # from any thread; ``await batcher(x)`` in asyncio
(3,)
"""

from chainrule.serving.batcher import Batcher, QueueFullError

__all__ = ["Batcher", "QueueFullError"]
