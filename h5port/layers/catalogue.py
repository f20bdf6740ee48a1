"""Every declaration is imported here, so that `LAYERS` is whole."""

from h5port.layers import activations, convolution1d, core, merge, normalization, recurrent, shaped_activations, wrappers
from h5port.layers.base import LAYERS, OPERATIONS

__all__ = ["LAYERS", "OPERATIONS", "activations", "convolution1d", "core", "merge", "normalization", "recurrent", "shaped_activations", "wrappers"]
