"""A worker: the models of torch_speed.py in a genuine Keras, as a `tf.function` on TensorFlow."""

import os
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

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


def seconds(run, times=5):
    """Of one run of several: the median, after one that is not counted."""
    run()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main():
    backend = keras.backend.backend()
    given = np.random.default_rng(0).standard_normal((BATCH, STEPS, UNITS)).astype("float32")
    models = {name: model(*spec) for name, spec in RECURRENT.items()}
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.constant(given)
        runs = {name: tf.function(lambda x, m=m: m(x, training=False)) for name, m in models.items()}
    else:
        import torch

        x = torch.from_numpy(given)
        runs = {name: lambda x, m=m: m(x, training=False) for name, m in models.items()}
    for run in runs.values():
        for _ in range(3):
            run(x)
    print("> " + "\t".join(runs), flush=True)
    for line in sys.stdin:
        run = runs[line.strip()]
        print(f"> {seconds(lambda: run(x))}", flush=True)  # noqa: B023


main()
