"""Every array of a `.h5`, transposed by numpy and saved by safetensors: the few lines that everybody writes."""

import os
import sys

import h5py
import numpy as np
from safetensors.numpy import save_file

source, out = sys.argv[1:]
arrays = {}
with h5py.File(source) as file:
    file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
save_file({n: np.ascontiguousarray(a.T) for n, a in arrays.items()}, out)
with open(out, "rb+") as written:
    os.fsync(written.fileno())
