"""Keras models become PyTorch modules, without Keras and without TensorFlow."""

from h5port.api import check, convert, explain, inspect, load, state_dict
from h5port.custom import register
from h5port.errors import H5PortError
from h5port.many import convert_many
from h5port.version import __version__

__all__ = [
    "H5PortError",
    "__version__",
    "check",
    "convert",
    "convert_many",
    "explain",
    "inspect",
    "load",
    "register",
    "state_dict",
]
