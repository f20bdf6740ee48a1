"""model.py is plain code of a closed vocabulary, whatever the names in the file, and computes what `load` computes."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
from conftest import Case, genuine_cases
from hypothesis import given, settings
from hypothesis import strategies as st

import h5port
from h5port.module.program import CallSpec, ModuleSpec, Program, ValueSpec
from h5port.output.model_py import print_model

EQUAL = [c for c in genuine_cases() if c.data["expect"] == "equal"]

KINDS = frozenset(
    """Module Import ImportFrom alias ClassDef FunctionDef arguments arg Return Assign AnnAssign AugAssign
    Expr For If Continue
    Name Load Store Attribute Call keyword Constant JoinedStr FormattedValue Tuple List Dict Starred Subscript Slice
    ListComp GeneratorExp comprehension IfExp Compare BoolOp BinOp UnaryOp And Or Not USub Is IsNot
    Eq NotEq Lt LtE Gt GtE Add Sub Mult MatMult Div FloorDiv Mod Pow BitAnd BitOr""".split()
)
HEAD = {
    "torch": {"torch", "nn"},
    "torch.nn": {"functional as F"},
    "torch.nn.utils.rnn": {"PackedSequence", "pack_padded_sequence", "pad_packed_sequence"},
    "pathlib": {"Path"},
    "functools": {"partial"},
    "safetensors.torch": {"load_file"},
}
BUILTINS = frozenset(
    "any enumerate float getattr int isinstance len list range setattr slice sum super tuple zip".split()
)


def strange(text: str) -> list[str]:
    """All that model.py should not hold: node kinds, imports, names and attributes beyond the allow-lists."""
    tree = ast.parse(text, feature_version=(3, 10))
    found = [f"node {type(n).__name__}" for n in ast.walk(tree) if type(n).__name__ not in KINDS]
    body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    head = [n for n in body if isinstance(n, ast.Import | ast.ImportFrom)]
    found += [f"import {ast.unparse(n)}" for n in ast.walk(tree) if _is_import(n) and not (n in head and _is_known(n))]
    found += [f"statement {ast.unparse(n)}" for n in body if not _is_import(n) and not _is_definition(n)]
    definitions = {n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    known = definitions | {a.asname or a.name for n in head for a in n.names} | BUILTINS
    for node in body:
        found += _strange_names(node, known | ({"__file__"} if getattr(node, "name", "") == "load" else set()))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and ast.unparse(node) != "super().__init__":
            found.append(f"attribute {node.attr}")
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.decorator_list:
            found.append(f"decorator of {node.name}")
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr"):
            found += [f"getattr of {ast.unparse(node.args[1])}"] * ("__" in ast.unparse(node.args[1]))
    return found


def _is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_known(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return ast.unparse(node) == "import torch"
    assert isinstance(node, ast.ImportFrom)
    return not node.level and {ast.unparse(a) for a in node.names} <= HEAD.get(node.module or "", set())


def _is_definition(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.ClassDef)


def _strange_names(node: ast.AST, known: set[str]) -> Iterator[str]:
    """Names that are read in a class or function and neither known nor bound in it."""
    if isinstance(node, ast.FunctionDef):
        known = known | {n.arg for n in ast.walk(node.args) if isinstance(n, ast.arg)}
        known |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load) and child.id not in known:
            yield f"name {child.id}"
        yield from _strange_names(child, known)


# ---- genuine files


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | h5port.H5PortError]:
    """model.py of every genuine case, or the refusal."""
    out = tmp_path_factory.mktemp("genuine")
    results: dict[str, Path | h5port.H5PortError] = {}
    for number, case in enumerate(EQUAL):
        try:
            h5port.convert(case.source, out / str(number), **case.options)
            results[case.id] = out / str(number) / "model.py"
        except h5port.H5PortError as error:
            results[case.id] = error
    return results


Printed = dict[str, "Path | h5port.H5PortError"]


@pytest.mark.parametrize("case", EQUAL, ids=lambda c: c.id)
def test_the_code_of_a_genuine_model_holds_nothing_strange(case: Case, printed: Printed) -> None:
    file = printed[case.id]
    assert isinstance(file, Path), file
    text = file.read_text(encoding="utf-8")
    assert text.isascii()
    assert strange(text) == []


def test_ruff_has_nothing_to_say_of_the_code_of_genuine_models(printed: Printed) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not installed")
    files = [str(f) for f in printed.values() if isinstance(f, Path)]
    assert files
    command = [ruff, "check", "--isolated", "--no-cache", "--output-format=concise", *files]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


PLAIN = "import torch\n\n\ndef f(x):\n    y = x\n    return torch.relu(y)\n"


@pytest.mark.parametrize(
    "code",
    [
        "import os",
        "from torch import load",
        "from . import torch",
        "torch.manual_seed(0)",
        "x = 1",
        "def g(x):\n    import torch",
        "def g(x):\n    return eval(x)",
        "def g(x):\n    return exec(x)",
        "def g(x):\n    return open(x)",
        "def g(x):\n    return __import__('os')",
        "def g(x):\n    return y",
        "def g(x):\n    return x.__class__",
        "def g(x):\n    return x._modules",
        "def g(x):\n    return getattr(x, '__class__')",
        "def g(x):\n    return lambda: x",
        "def g(x):\n    with x:\n        return x",
        "def g(x):\n    global f",
        "def g(x, path=__file__):\n    return x",
        "@torch.compile\ndef g(x):\n    return x",
        "class A(B):\n    pass",
        "class A:\n    print()",
    ],
)
def test_the_check_finds_code_that_should_not_be_there(code: str) -> None:
    assert strange(PLAIN) == []
    assert strange(f"{PLAIN}\n\n{code}\n") != []


# ---- hostile names

CODE = ['"', "'", '"""', "\n", "back\\", '"""); import os #', "'); import os; ('", "\r\nimport os\n", "{x}", "%s"]
TEXT = [" ", "1x", "a/b", "a.b", "名前", "İ", "ﬁ", "\u202e", "\u2028", "é"]
PYTHON = ["class", "lambda", "None", "__class__", "self", "print", "input", "vars", "__file__", "l"]
TORCH = ["forward", "training", "_modules", "T_destination", "bfloat16", "to_empty", "program", "state_dict"]
OURS = ["relu", "add", "last_step", "torch", "nn", "F", "load_file", "load", "Path", "partial", "inputs", "x", "mask"]
CLASSES = ["Memory", "KerasLSTM", "GaussianNoise", "gaussian_noise", "keras_lstm", "packed_sequence"]
NAMES = [*CODE, *TEXT, *PYTHON, *TORCH, *OURS, *CLASSES]
PAIRS = [("a b", "a_b"), ("A", "a"), ("class", "class_"), ("é", "è"), ("x_2", "x"), ("lstm_forward", "lstm")]

LSTM = {"units": 4, "activation": "tanh", "recurrent_activation": "hard_sigmoid", "return_sequences": True}
LAYERS: dict[str, dict[str, Any]] = {
    "Dense": {"units": 4, "activation": "linear"},
    "Bidirectional": {"merge_mode": "sum", "layer": {"class_name": "LSTM", "config": {"name": "inner", **LSTM}}},
    "Add": {},
    "Multiply": {},
    "GaussianNoise": {"stddev": 0.5},
}
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "Dense": {"kernel:0": (3, 4), "bias:0": (4,)},
    "Bidirectional": {
        f"{direction}_inner/{weight}:0": shape
        for direction in ("forward", "backward")
        for weight, shape in (("kernel", (4, 16)), ("recurrent_kernel", (4, 16)), ("bias", (16,)))
    },
}


def keras_file(path: Path, names: list[str], model_name: str = "model_1") -> Path:
    """A file of Keras 2.2.4: x -> Dense a -> two LSTMs b; a + b -> sum; sum * b -> product -> noise. a and b are read
    twice, so that they need variables of their own."""
    a, b, total, product, noise = names
    reads = {a: ["x in"], b: [a], total: [a, b], product: [total, b], noise: [product]}
    first = {"batch_input_shape": [None, 5, 3], "dtype": "float32", "name": "x in"}
    layers = [{"class_name": "InputLayer", "name": "x in", "config": first, "inbound_nodes": []}]
    for (kind, options), (name, sources) in zip(LAYERS.items(), reads.items(), strict=True):
        nodes = [[[source, 0, 0, {}] for source in sources]]
        layers.append({"class_name": kind, "name": name, "config": {"name": name, **options}, "inbound_nodes": nodes})
    config = {"name": model_name, "layers": layers, "input_layers": [["x in", 0, 0]], "output_layers": [[noise, 0, 0]]}
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as f:
        f.attrs.update({"keras_version": "2.2.4", "backend": "tensorflow"})
        f.attrs["model_config"] = json.dumps({"class_name": "Model", "config": config})
        weights = f.create_group("model_weights")
        weights.attrs.update({"keras_version": "2.2.4", "backend": "tensorflow"})
        weights.attrs["layer_names"] = [name.encode() for name in ["x in", *names]]
        weights.create_group("x in").attrs["weight_names"] = np.zeros(0)
        for kind, name in zip(LAYERS, names, strict=True):
            group = weights.require_group(name)
            group.attrs["weight_names"] = [f"{name}/{w}".encode() for w in SHAPES.get(kind, ())] or np.zeros(0)
            for weight, shape in SHAPES.get(kind, {}).items():
                group[f"{name}/{weight}"] = random.standard_normal(shape).astype(np.float32)
    return path


Hostile = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    """(Keras file, output folder) for names of the Dense layer, of the LSTMs and of the model; made once."""

    @functools.cache
    def make(a: str, b: str, model_name: str = "model_1") -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp("hostile")
        source = keras_file(folder / "model.h5", [a, b, "sum of both", "product", "noise"], model_name)
        h5port.convert(source, folder / "out")
        return source, folder / "out"

    return make


CASES = [*((name, f"{name}_2", name) for name in NAMES), *PAIRS, *((b, a) for a, b in PAIRS)]
hostile_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(map(ascii, case[:2])))


@hostile_cases
def test_no_name_brings_strange_code(case: tuple[str, ...], hostile: Hostile) -> None:
    _, out = hostile(*case)
    text = (out / "model.py").read_text(encoding="utf-8")
    assert text.isascii()
    assert strange(text) == []


@hostile_cases
def test_no_name_changes_what_is_computed(case: tuple[str, ...], hostile: Hostile) -> None:
    torch = pytest.importorskip("torch")
    source, out = hostile(*case)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 5, 3)).astype(np.float32))
    with torch.inference_mode():
        expected = reference(hostile, x)
        for model in (imported(out / "model.py").load(), h5port.load(out), h5port.load(source)):
            assert torch.equal(model(x), expected)


def reference(hostile: Hostile, x: Any) -> Any:
    """What the same weights give under names that are not hostile."""
    return h5port.load(hostile("dense", "lstm")[1])(x)


def imported(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("printed_model", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["noise", "model_1"])
def test_a_name_that_is_no_unicode_text_is_refused_or_harmless(name: str, tmp_path: Path) -> None:
    """JSON can write half of a surrogate pair, which no UTF-8 file can hold."""
    source = keras_file(tmp_path / "model.h5", ["dense", "lstm", "sum", "product", "noise"])
    with h5py.File(source, "r+") as f:
        f.attrs["model_config"] = f.attrs["model_config"].replace(f'"{name}"', f'"{name}\\ud800"')
    try:
        h5port.convert(source, tmp_path / "out")
    except h5port.H5PortError:
        assert not (tmp_path / "out").exists()
    else:
        assert strange((tmp_path / "out" / "model.py").read_text(encoding="utf-8")) == []


# ---- names and liveness of values

ARITY = {"tanh": 1, "sparse_plus": 1, "add": 2, "subtract": 2, "multiply": 2, "highway": 3}
RISKY = ["relu", "relu_2", "relu_2_2", "add", "add_2", "load", "x_2"]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Functions of functions of x, whose values have names that are easily mixed up."""
    names = draw(st.lists(st.sampled_from(RISKY), min_size=4, max_size=7, unique=True))
    known, calls = ["x"], []
    for name in names:
        target = draw(st.sampled_from(sorted(ARITY)))
        inputs = tuple(draw(st.sampled_from(known)) for _ in range(ARITY[target]))
        calls.append(CallSpec(target=target, inputs=inputs, outputs=(name,)))
        known.append(name)
    outputs = draw(st.lists(st.sampled_from(known[1:]), min_size=2, max_size=4))
    values = {n: ValueSpec(shape=(None, 3), role="input" if n == "x" else "") for n in known}
    return Program(
        name="net", doc="A net", inputs=["x"], outputs=outputs, modules={}, calls=tuple(calls), values=values
    )


def both_alive(a: str, b: str) -> Program:
    """a = tanh(x), b = sparse_plus(a), and an output that reads both."""
    calls = (
        CallSpec(target="tanh", inputs=("x",), outputs=(a,)),
        CallSpec(target="sparse_plus", inputs=(a,), outputs=(b,)),
        CallSpec(target="highway", inputs=(a, b, a), outputs=("end",)),
    )
    values = {n: ValueSpec(shape=(None, 3), role="input" if n == "x" else "") for n in ("x", a, b, "end")}
    return Program(name="net", doc="", inputs=["x"], outputs=["end", a, b], modules={}, calls=calls, values=values)


def assert_computes_the_same(program: Program) -> None:
    torch = pytest.importorskip("torch")
    from h5port.runtime.build import build

    text = print_model(program)
    assert strange(text) == []
    space: dict[str, Any] = {"__name__": "printed"}
    exec(compile(text, "model.py", "exec"), space)
    x = torch.tensor([[0.5, -1.25, 2.0], [0.0, 0.75, -0.5]])
    for mine, theirs in zip(space["Net"]()(x), build(program, {})(x), strict=True):
        assert torch.equal(mine, theirs), text


@pytest.mark.parametrize("a", ["relu", "add", "sparse_plus"])
@pytest.mark.parametrize("suffix", ["_2", "_3", "_2_2"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_value_named_like_a_function_is_not_taken_for_its_neighbour(a: str, suffix: str, turned: bool) -> None:
    assert_computes_the_same(both_alive(a + suffix, a) if turned else both_alive(a, a + suffix))


@settings(max_examples=30, deadline=None)
@given(programs())
def test_no_value_is_taken_for_another(program: Program) -> None:
    assert_computes_the_same(program)


# ---- arguments


def net(call: CallSpec, **modules: ModuleSpec) -> Program:
    """A program named "net" of one call, x -> y."""
    values = {"x": ValueSpec(shape=(None, 3), role="input"), "y": ValueSpec(shape=(None, 3))}
    return Program(name="net", doc="A net", inputs=["x"], outputs="y", modules=modules, calls=(call,), values=values)


def function(name: str, **args: Any) -> dict[str, Any]:
    return {"function": name, "args": args}


MODULES = [
    ("Linear", {"in_features": 3, "out_features": 2, "bias": True}),
    ("Linear", {"in_features": 3, "out_features": 2, "bias": False}),
    ("Embedding", {"num_embeddings": 9, "embedding_dim": 2}),
    ("LSTM", {"input_size": 3, "hidden_size": 2, "batch_first": True, "bias": True, "bidirectional": True}),
    ("GRU", {"input_size": 3, "hidden_size": 2, "batch_first": True, "num_layers": 2, "bias": False}),
    ("RNN", {"input_size": 3, "hidden_size": 2, "batch_first": True, "nonlinearity": "relu"}),
    ("RNN", {"input_size": 3, "hidden_size": 2, "batch_first": True, "nonlinearity": "tanh"}),
    ("Conv1d", {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "stride": 1, "dilation": 1, "groups": 1}),
    ("Conv1d", {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "stride": 2, "dilation": 2, "groups": 2}),
    ("MaxPool1d", {"kernel_size": 3, "stride": 1}),
    ("MaxPool1d", {"kernel_size": 3, "stride": 3}),
    ("AvgPool1d", {"kernel_size": 3, "stride": 1}),
    ("AvgPool1d", {"kernel_size": 1, "stride": 1}),
    ("BatchNorm1d", {"num_features": 4, "eps": 0.002, "momentum": 0.01}),
    ("LayerNorm", {"normalized_shape": [3, 2], "eps": 1e-7}),
    ("LayerNorm", {"normalized_shape": 4, "dtype": "float64"}),
    ("Dropout", {"p": 0.25}),
    ("KerasLSTM", {"input_size": 3, "hidden_size": 2, "activation": function("relu"), "bias": False}),
    ("KerasGRU", {"input_size": 3, "hidden_size": 2, "activation": function("elu", alpha=0.5), "reset_after": True}),
    ("Memory", {"batch_size": 2, "sizes": [3, 4]}),
    ("GaussianNoise", {"stddev": 0.1}),
    ("ShapedPReLU", {"shape": [1, 3]}),
]


@pytest.mark.parametrize(("kind", "args"), MODULES, ids=str)
def test_a_module_is_printed_with_all_that_makes_it_what_it_is(kind: str, args: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from h5port.runtime.build import build

    program = net(CallSpec(target="@m", inputs=("x",), outputs=("y",)), m=ModuleSpec(type=kind, args=args))
    text = print_model(program)
    assert strange(text) == []
    (tmp_path / "model.py").write_text(text, encoding="utf-8")
    mine = imported(tmp_path / "model.py").Net().eval()
    theirs = build(program, mine.state_dict())
    assert facts(mine.m) == facts(theirs.m)


def facts(module: Any) -> Any:
    """What a module is, but for the place where its class comes from."""
    plain = {k: v for k, v in vars(module).items() if not k.startswith("_") and "activation" not in k}
    activations = {k: describe(v) for k, v in vars(module).items() if "activation" in k}
    tensors = {k: (v.shape, v.dtype) for k, v in [*module.named_parameters(), *module.named_buffers()]}
    return type(module).__name__, repr(module), plain, activations, tensors


def describe(function: Any) -> Any:
    """A function by its name; a partial one with its arguments."""
    if function is None:
        return None
    if isinstance(function, functools.partial):
        return describe(function.func), function.keywords
    return function.__name__


FUNCTIONS = [
    ("not_equal_to", {"value": -1.5}),
    ("not_equal_to", {"value": float("inf")}),
    ("not_equal_to", {"value": float("-inf")}),
    ("not_equal_to", {"value": float("nan")}),
    ("any_differs", {"value": 1e-45}),
    ("keras_relu", {"negative_slope": 0.0, "max_value": None, "threshold": -1}),
    ("keras_relu", {"negative_slope": 0.1, "max_value": float("inf"), "threshold": 0.5}),
    ("cast", {"to": "int64"}),
    ("permute", {"dims": [1, 0]}),
    ("reshape", {"dims": [3, 1]}),
    ("softmax", {"dim": -1}),
    ("flatten", {}),
    ("sparse_plus", {}),
]


@pytest.mark.parametrize(("name", "args"), FUNCTIONS, ids=str)
def test_a_function_is_printed_with_its_arguments(name: str, args: dict[str, Any], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from h5port.runtime.build import build

    program = net(CallSpec(target=name, inputs=("x",), outputs=("y",), args=args))
    text = print_model(program)
    assert strange(text) == []
    (tmp_path / "model.py").write_text(text, encoding="utf-8")
    x = torch.tensor([[0.0, float("inf"), -1.5], [1e-45, 2.0, -0.5]])
    mine, theirs = imported(tmp_path / "model.py").Net()(x), build(program, {})(x)
    assert (
        torch.equal(mine.nan_to_num(7), theirs.nan_to_num(7)) if mine.is_floating_point() else torch.equal(mine, theirs)
    )
    assert mine.dtype == theirs.dtype


@pytest.mark.parametrize("key", [*CODE, *TEXT, "float32", "bool"])
def test_the_keys_of_inputs_and_outputs_are_nothing_but_text(key: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    program = msgspec.structs.replace(
        net(CallSpec(target="sparse_plus", inputs=("x",), outputs=("y",))), inputs={key: "x"}, outputs={key: ["y"]}
    )
    text = print_model(program)
    assert text.isascii()
    assert strange(text) == []
    (tmp_path / "model.py").write_text(text, encoding="utf-8")
    result = imported(tmp_path / "model.py").Net()({key: torch.tensor([[5.0, 0.0, 0.0]])})
    assert {k: [t.tolist() for t in v] for k, v in result.items()} == {key: [[[5.0, 0.25, 0.25]]]}


@pytest.mark.parametrize("words", [*CODE, *TEXT])
def test_comments_and_docstrings_are_nothing_but_words(words: str) -> None:
    program = net(CallSpec(target="@m", inputs=("x",), outputs=("y",)), m=ModuleSpec(type="Dropout", args={"p": 0.5}))
    modules = {"m": msgspec.structs.replace(program.modules["m"], why=words)}
    text = print_model(msgspec.structs.replace(program, doc=words, name=words, modules=modules))
    assert text.isascii()
    assert strange(text) == []


def test_the_same_program_is_printed_the_same() -> None:
    program = net(CallSpec(target="sparse_plus", inputs=("x",), outputs=("y",)))
    assert print_model(program) == print_model(program)
