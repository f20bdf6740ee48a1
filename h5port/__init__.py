"""Keras models become PyTorch modules, without Keras and without TensorFlow."""

from h5port.api import load
from h5port.errors import H5PortError

__all__ = ["H5PortError", "load"]
