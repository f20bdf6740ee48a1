"""The modules of torch.nn that a program may have, and what is known of their arguments."""

from __future__ import annotations

from typing import Any

import msgspec


class TorchModule(msgspec.Struct, frozen=True):
    """positional  arguments that model.py prints by position
    defaults    torch's own, which model.py leaves out
    typed       whether it has parameters, and so takes a dtype
    """

    positional: tuple[str, ...]
    defaults: dict[str, Any] = {}
    typed: bool = False


_CONV = TorchModule(
    ("in_channels", "out_channels", "kernel_size"),
    {"bias": True, "stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1},
    typed=True,
)
_RNN = TorchModule(("input_size", "hidden_size"), {"bias": True, "num_layers": 1, "nonlinearity": "tanh"}, typed=True)
_NORM = TorchModule(("num_features",), typed=True)
_DROPOUT = TorchModule(("p",))
_POOL = TorchModule(("kernel_size",))

TORCH: dict[str, TorchModule] = {
    "Linear": TorchModule(("in_features", "out_features"), {"bias": True}, typed=True),
    "Embedding": TorchModule(("num_embeddings", "embedding_dim"), typed=True),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _RNN),
    **{f"{kind}{n}d": _CONV for kind in ("Conv", "ConvTranspose") for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": _NORM for n in (1, 2, 3)},
    "LayerNorm": TorchModule(("normalized_shape",), typed=True),
    "GroupNorm": TorchModule(("num_groups", "num_channels"), typed=True),
    "RMSNorm": TorchModule(("normalized_shape",), typed=True),
    **dict.fromkeys(("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout"), _DROPOUT),
    **{f"{kind}Pool{n}d": _POOL for kind in ("Max", "Avg") for n in (1, 2, 3)},
    **{f"Adaptive{kind}Pool{n}d": TorchModule(("output_size",)) for kind in ("Max", "Avg") for n in (1, 2, 3)},
}

# Shims with parameters: they take a dtype, too.
TYPED_SHIMS = frozenset(
    """Float8Linear KerasLSTM KerasGRU KerasRNN KerasConvLSTM Memory
    StdNorm SampleNorm BatchStatNorm VarianceScale LooseGroupNorm Standardize Weighted
    ShapedPReLU ParametricSoftplus SReLU
    LocallyConnected SparselyConnected MaskedConnected
    EinsumDense DotScores ConcatScores AdditiveScores""".split()
)

# Modules that give back what they are called on, except in training.
IDLE = frozenset("Dropout Dropout1d Dropout2d Dropout3d AlphaDropout GaussianNoise GaussianDropout".split())


def is_typed(module: str) -> bool:
    """Whether a module takes a dtype."""
    return module in TYPED_SHIMS or (module in TORCH and TORCH[module].typed)
