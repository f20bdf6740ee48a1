"""A worker: the models of torch_speed.py in a genuine Keras, as a `tf.function` on TensorFlow."""

import os
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from worker import serve

BATCH, STEPS, UNITS = 32, 50, 64
RECURRENT = {
    "lstm": ("LSTM", {}),
    "hard": ("LSTM", {"recurrent_activation": "hard_sigmoid"}),
    "before": ("GRU", {"reset_after": False}),
}


def model(class_name, options):
    x = y = keras.Input((STEPS, UNITS))
    for _ in range(2):
        y = keras.layers.Bidirectional(getattr(keras.layers, class_name)(UNITS, return_sequences=True, **options))(y)
    return keras.Model(x, y)


def main():
    backend = keras.backend.backend()
    given = np.random.default_rng(0).standard_normal((BATCH, STEPS, UNITS)).astype("float32")
    models = {name: model(*spec) for name, spec in RECURRENT.items()}
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.constant(given)
        models = {name: tf.function(partial(m, training=False)) for name, m in models.items()}
    else:
        import torch

        x = torch.from_numpy(given)
        models = {name: partial(m, training=False) for name, m in models.items()}
    serve({name: partial(m, x) for name, m in models.items()})


main()
