"""Back-propagation in plain sight: every quantity of a pass, and one weight taken apart."""

from chainrule.explain.trace import Trace, trace
from chainrule.explain.weight import Explanation, NeuronError, explain

__all__ = ["Explanation", "NeuronError", "Trace", "explain", "trace"]
