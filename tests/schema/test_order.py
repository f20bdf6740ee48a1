"""Calls stand in the order in which Keras runs them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h5port.errors import H5PortError
from h5port.schema.graph import Call, Ref
from h5port.schema.order import in_order

Graph = list[list[int]]  # the calls that each call takes; -1 is the input


def calls_of(graph: Graph) -> list[Call]:
    return [
        Call(f"n{i}", 0, tuple(Ref(f"n{k}" if k >= 0 else "x", 0, 0) for k in needs), {})
        for i, needs in enumerate(graph)
    ]


def order_of(graph: Graph, *outputs: int) -> list[str]:
    return [c.layer for c in in_order(calls_of(graph), ["x"], [Ref(f"n{k}", 0, 0) for k in outputs], "config")]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 12))
    return [draw(st.lists(st.integers(-1, i - 1), min_size=1, max_size=3)) for i in range(count)]


@given(graphs(), st.data())
def test_each_call_stands_once_and_after_all_that_it_needs(graph: Graph, data: st.DataObject) -> None:
    outputs = data.draw(st.lists(st.integers(0, len(graph) - 1), min_size=1, max_size=3))
    order = order_of(graph, *outputs)
    assert sorted(order) == sorted(f"n{i}" for i in range(len(graph)))
    for i, needs in enumerate(graph):
        assert all(order.index(f"n{k}") < order.index(f"n{i}") for k in needs if k >= 0)


# What Keras 3.15.1 and tf_keras 2.21 show in the `_nodes_by_depth` of such models.
@pytest.mark.parametrize(
    ("graph", "outputs", "order"),
    [
        ([[-1], [0], [0]], (1, 2), ["n0", "n2", "n1"]),
        ([[-1], [0], [0]], (2, 1), ["n0", "n1", "n2"]),
        ([[-1], [-1], [0, 1]], (2,), ["n0", "n1", "n2"]),
        ([[-1], [0], [-1], [1, 2]], (3,), ["n0", "n1", "n2", "n3"]),
    ],
)
def test_equally_far_calls_stand_as_keras_runs_them(graph: Graph, outputs: tuple[int, ...], order: list[str]) -> None:
    assert order_of(graph, *outputs) == order


def test_a_chain_of_any_length_is_put_in_order() -> None:
    graph = [[i - 1] for i in range(20_000)]
    assert order_of(graph, 19_999) == [f"n{i}" for i in range(20_000)]


@pytest.mark.parametrize("graph", [[[1], [0]], [[0]], [[7]], [[-1], [2], [1]]])
def test_calls_that_wait_for_each_other_or_for_nothing_are_refused(graph: Graph) -> None:
    with pytest.raises(H5PortError) as error:
        order_of(graph, 0)
    assert error.value.code == "unsupported-graph"
