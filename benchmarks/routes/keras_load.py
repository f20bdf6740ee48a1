"""A genuine Keras loads the model and saves its weights as safetensors."""

import os
import sys

import keras
import numpy as np
from safetensors.numpy import save_file

source, out = sys.argv[1:]
model = keras.models.load_model(source, compile=False)
save_file({w.path: np.ascontiguousarray(w.numpy()) for w in model.weights}, out)
with open(out, "rb+") as written:
    os.fsync(written.fileno())
