"""Networks as ONNX models, and ONNX models as networks (``pip install "chainrule[onnx]"``).

>>> import chainrule as cr
>>> import chainrule.onnx
>>> model = chainrule.onnx.to_onnx(cr.Network([4, 8, 3], activations=["relu", "identity"]))
>>> chainrule.onnx.from_onnx(model).sizes
(4, 8, 3)
"""

from chainrule.onnx.export import to_onnx
from chainrule.onnx.load import from_onnx

__all__ = ["from_onnx", "to_onnx"]
