"""Every declaration is imported here, so that `LAYERS` and `OPERATIONS` are whole when a model is lowered."""

import importlib
import pkgutil

from h5port import layers, ops
from h5port.layers.base import LAYERS, OPERATIONS
from h5port.layers.engine import Lowered, lower_model

for _room in (layers, ops):
    for _file in pkgutil.iter_modules(_room.__path__):
        importlib.import_module(f"{_room.__name__}.{_file.name}")

__all__ = ["LAYERS", "OPERATIONS", "Lowered", "lower_model"]
