"""Operations of Keras 3 that are refused, each with the reason that its reader is told."""

from __future__ import annotations

_FUNCTION = "it calls a Python function, which is never executed"
_COMPLEX = "tensors of complex numbers"

REFUSED_OPERATIONS: dict[str, str] = {
    **dict.fromkeys(("Map", "VectorizedMap", "Scan", "AssociativeScan", "Switch", "Cond"), _FUNCTION),
    **dict.fromkeys(("WhileLoop", "ForiLoop", "JVP"), _FUNCTION),
    **dict.fromkeys(("Polar", "ViewAsComplex", "ViewAsReal", "Eig"), _COMPLEX),
    "Eigh": "the signs of eigenvectors are not defined, and Keras' backends differ",
    "LuFactor": "Keras' backends differ in how they give the order of rows",
    **dict.fromkeys(("CTCLoss", "CtcLoss"), "a loss over alignments, which Keras' backends compute differently"),
    "CTCDecode": "its search over alignments differs between Keras' backends",
    "ElasticTransform": "it is random at inference, too",
    "Argpartition": "its order within the parts is not defined, and Keras' backends differ",
    "Histogram": "Keras itself fails at its node with every backend",
    "Unique": "the size of its result depends on the data",
}
