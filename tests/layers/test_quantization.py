"""What quantised layers and layers with LoRA keep in the file, in each kind of store, and what is made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from h5port.errors import H5PortError
from h5port.layers.quantization import FLOAT8, as_stored, family_of
from h5port.schema.graph import LayerConfig
from h5port.schema.needs import Variable
from h5port.schema.policy import dtype_and_mode

DENSE = (Variable("kernel", (None, 5)), Variable("bias", (5,)))


def names(mode: str | None = None, **options: Any) -> list[tuple[str, bool, bool]]:
    config = LayerConfig(class_name="Dense", name="d", options=options, place="", id=0, quantization=mode)
    return [(v.name, v.trainable, v.optional) for v in as_stored(("kernel",), config, DENSE)]


@pytest.mark.parametrize(
    ("mode", "added"),
    [
        ("int8", ["kernel_scale"]),
        ("int4/-1", ["kernel_scale"]),
        ("int4/128", ["kernel_scale", "kernel_zero", "g_idx"]),
    ],
)
def test_integers_are_fixed_and_their_scales_come_last(mode: str, added: list[str]) -> None:
    assert names(mode) == [("kernel", False, False), ("bias", True, False), *((n, False, False) for n in added)]


def test_float8_has_its_six_variables_last() -> None:
    assert [n for n, _, _ in names("float8")] == ["kernel", "bias", *FLOAT8]


def test_factors_of_lora_may_be_absent_and_freeze_the_kernel() -> None:
    factors = [("lora_kernel_a", True, True), ("lora_kernel_b", True, True)]
    assert names(lora_rank=2) == [("kernel", False, False), ("bias", True, False), *factors]
    assert names(lora_rank=None) == names() == [("kernel", True, False), ("bias", True, False)]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("mixed_float16", ("mixed_float16", None)),
        ("int8_from_mixed_bfloat16", ("mixed_bfloat16", "int8")),
        ({"class_name": "PolicyV1", "config": {"name": "float64", "loss_scale": None}}, ("float64", None)),
        (
            {"class_name": "Int4DTypePolicy", "config": {"mode": "int4/-1", "source_name": "float32"}},
            ("float32", "int4/-1"),
        ),
        (
            {"class_name": "DTypePolicyMap", "config": {"default_policy": "float64", "policy_map": {}}},
            ("float64", None),
        ),
    ],
    ids=str,
)
def test_a_policy_says_the_dtype_and_the_mode(policy: Any, said: tuple[str | None, str | None]) -> None:
    assert dtype_and_mode(policy) == said


@pytest.mark.parametrize(
    "policy",
    [
        {"class_name": "MyPolicy", "config": {"name": "float32"}},
        {"class_name": "DTypePolicyMap", "config": {"default_policy": None, "policy_map": {"d": "int8_from_float32"}}},
    ],
    ids=str,
)
def test_a_policy_that_is_not_known_is_refused_by_name(policy: dict[str, Any]) -> None:
    with pytest.raises(H5PortError, match=policy["class_name"]):
        dtype_and_mode(policy)


def test_the_int4_of_earlier_releases_is_another() -> None:
    assert family_of("int4") != family_of("int4/128") == "int4"
    assert np.array_equal([family_of(m) for m in ("int8", "gptq")], ["int8", "gptq"])
