"""Convolutions whose kernels are tensors: the transpose is the adjoint of the convolution."""

from __future__ import annotations

from itertools import product
from typing import Any, Literal

import pytest

from h5port.layers.spatial import transposed_ends

torch: Any = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("taps", "stride", "padding", "dilation"), list(product((1, 2, 3, 4), (1, 2, 3), ("valid", "same"), (1, 2)))
)
def test_convolve_back_is_the_adjoint_of_the_convolution(
    taps: int, stride: int, padding: Literal["valid", "same"], dilation: int
) -> None:
    """<convolve(y), x> = <y, convolve_back(x)> for y of the size that Keras gives the transpose."""
    from h5port.runtime.functions.convolution import pad_same
    from h5port.runtime.functions.patches import convolve_back, convolve_by

    wide = (taps - 1) * dilation + 1
    before, longer = transposed_ends(padding, wide, stride, None)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    kernel = torch.randn(taps, 3, 4, generator=generator, dtype=torch.float64)
    back = convolve_back(x, kernel, stride=[stride], dilation=[dilation], ends=[[before, longer]])
    y = torch.randn(back.shape, generator=generator, dtype=torch.float64)
    padded = pad_same(y, widths=[wide], strides=[stride]) if padding == "same" else y
    forth = convolve_by(padded, kernel, stride=[stride], dilation=[dilation], groups=1)
    assert forth.shape == x.shape
    torch.testing.assert_close((forth * x).sum(), (back * y).sum())
