"""Prints the classes of a Keras' `layers` module as JSON; run it with that Keras: keras, tf_keras."""

from __future__ import annotations

import importlib
import inspect
import json
import sys

ABSTRACT = {"Layer", "Wrapper", "AbstractRNNCell"}

if __name__ == "__main__":
    keras = importlib.import_module(sys.argv[1])
    found = {n for n, c in vars(keras.layers).items() if inspect.isclass(c) and issubclass(c, keras.layers.Layer)}
    print(json.dumps(sorted(found - ABSTRACT)))
