"""Prints {package: {layer class: [options]}} of the genuine Kerases. Runs in the oracle's environment."""

from __future__ import annotations

import inspect
import json
import os

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import keras
import tf_keras


def options(cls: type) -> list[str]:
    """The names of all arguments, of the bases' too where the rest goes to them."""
    found: list[str] = []
    for base in cls.__mro__:
        parameters = inspect.signature(base.__init__).parameters if "__init__" in vars(base) else {}
        found += [n for n in parameters if n not in ("self", "args", "kwargs")]
        if parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return found


def classes(package: object) -> dict[str, list[str]]:
    layers = vars(package.layers)  # type: ignore[attr-defined]
    return {n: options(c) for n, c in layers.items() if isinstance(c, type)}


if __name__ == "__main__":
    print(json.dumps({p.__name__: classes(p) for p in (keras, tf_keras)}))
