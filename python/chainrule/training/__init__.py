"""``Network.fit``: the course of a run, its data, and what watches it.

``fit`` checks the arguments and prepares a run; ``sources`` yields its batches; ``callbacks``,
``early_stopping``, ``history``, ``progress`` and ``checkpoint`` follow it.
"""
