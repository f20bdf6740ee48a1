"""The order in which Keras runs the calls of a graph: some of its layers change what others see."""

from __future__ import annotations

from collections.abc import Iterable

from h5port.errors import refusal
from h5port.schema.graph import Argument, Call, refs

Key = tuple[str, int]  # a layer and which of its calls


def in_order(calls: list[Call], starts: Iterable[str], outputs: Argument, place: str) -> list[Call]:
    """The farthest from the outputs first, and of equally far ones those that lead to the last outputs; calls that
    lead to none of them come at the end. Raises H5PortError for calls that wait for each other or for what is nowhere.

    map_graph of keras/src/ops/function.py, Keras 3.15, and of engine/functional.py, tf_keras 2.21.
    """
    called = {(c.layer, c.call): c for c in calls}
    given = {(name, 0) for name in starts}
    needs = {key: [(r.layer, r.call) for r in refs([*c.args, c.kwargs])] for key, c in called.items()}
    reached = _each_after_its_needs([(r.layer, r.call) for r in refs(outputs)], needs, given, place)
    depths: dict[Key, int] = {}  # in the order in which calls are met, which is that of equally far ones
    of_layer: dict[str, int] = {}
    for key in reversed(reached):
        depth = max(depths.get(key, 0), of_layer.get(key[0], 0))
        depths[key] = of_layer[key[0]] = depth
        for need in needs[key]:
            if need in called:
                depths[need] = max(depths.get(need, 0), depth + 1)
    order = sorted(depths, key=lambda key: -depths[key])
    return [called[key] for key in dict.fromkeys([*order, *_each_after_its_needs(called, needs, given, place)])]


def _each_after_its_needs(ends: Iterable[Key], needs: dict[Key, list[Key]], given: set[Key], place: str) -> list[Key]:
    """The ends and all that they need but what is given, depth first.

    A stack of its own: graphs are deeper than Python's.
    """
    done: dict[Key, None] = dict.fromkeys(given)
    begun: set[Key] = set()
    for end in ends:
        path = [] if end in done else [(end, iter(needs.get(end, ())))]
        while path:
            key, waiting = path[-1]
            begun.add(key)
            if key not in needs:
                raise refusal("unsupported-graph", f"a call of the layer {key[0]!r} that is nowhere", file=place)
            need = next((n for n in waiting if n not in done), None)
            if need is None:
                done[key] = None
                path.pop()
            elif need in begun:
                raise refusal(
                    "unsupported-graph", f"layers that wait for each other: {key[0]!r}, {need[0]!r}", file=place
                )
            else:
                path.append((need, iter(needs.get(need, ()))))
    return [key for key in done if key not in given]
