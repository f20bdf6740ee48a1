"""Operations of Keras 3 that are refused, each with the reason that its reader is told."""

from __future__ import annotations

REFUSED_OPERATIONS: dict[str, str] = {
    "Argpartition": "its order within the parts is not defined, and Keras' backends differ",
    "Unique": "the size of its result depends on the data",
}
