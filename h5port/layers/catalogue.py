"""Every declaration is imported here, so that `LAYERS` and `OPERATIONS` are whole when a model is lowered."""

from h5port.layers import (  # noqa: F401
    activations,
    cells,
    convolution1d,
    core,
    merge,
    normalization,
    recurrent,
    shaped_activations,
    wrappers,
)
from h5port.layers.base import LAYERS, OPERATIONS
from h5port.layers.engine import Lowered, lower_model
from h5port.ops import arithmetic  # noqa: F401

__all__ = ["LAYERS", "OPERATIONS", "Lowered", "lower_model"]
