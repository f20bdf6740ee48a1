"""Dtype policies as configs write them."""

from __future__ import annotations

from typing import Any

from h5port.errors import refusal

# Policies that name a dtype, or a mode of quantisation and the dtype that it started from.
_POLICIES = frozenset(
    """Policy PolicyV1 DTypePolicy FloatDTypePolicy QuantizedDTypePolicy QuantizedFloat8DTypePolicy Int4DTypePolicy
    GPTQDTypePolicy AWQDTypePolicy""".split()
)


def dtype_and_mode(value: Any) -> tuple[str | None, str | None]:
    """The name of a dtype or policy, and the mode of quantisation."""
    if isinstance(value, dict) and value.get("class_name") == "DTypePolicyMap":
        config = value.get("config") or {}
        if config.get("policy_map"):
            raise refusal("unsupported-option", "a DTypePolicyMap that gives inner layers policies of their own")
        return dtype_and_mode(config.get("default_policy"))
    if isinstance(value, dict):
        config = value.get("config") or {}
        if value.get("class_name", "DTypePolicy") not in _POLICIES:
            raise refusal("unsupported-option", f"the dtype policy {value.get('class_name')!r}")
        name = config.get("name") or config.get("source_name")
        return (name if isinstance(name, str) else None), config.get("mode")
    if isinstance(value, str) and "_from_" in value:
        mode, _, name = value.partition("_from_")
        return name, mode
    return (value, None) if isinstance(value, str) else (None, None)
