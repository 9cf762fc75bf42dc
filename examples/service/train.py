"""Train what the service serves: python train.py [FILE].

Thirteen analyses of a wine tell of which of three grapes it is.
"""

from __future__ import annotations

import sys

import chainrule as cr
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

x, y = load_wine(return_X_y=True)
scaler = StandardScaler().fit(x)
net = cr.Network([13, 32, 3], ["tanh", "softmax"], "cross_entropy", seed=0)
net.fit(scaler.transform(x), y, epochs=30, optimizer=cr.Adam(1e-2))
net = net.with_input_scaling(scaler.mean_, scaler.scale_)  # clients send what was measured
path = sys.argv[1] if len(sys.argv) > 1 else "model.safetensors"
net.save(path)  # replaces an older file in one step, so that the service never reads half a model
print(f"{path}: {net.evaluate(x, y)['accuracy']:.0%} of {len(x)} wines are told right")
