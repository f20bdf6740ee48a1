"""Prints a `Program` as code that an engineer would have written: model.py.

Functions and shims are taken from their source text in the runtime, which is read and never imported here: one
whose body is a single `return` is written out where it is called, every other one is pasted, with what it needs.
Nothing from the file becomes code: names are identifiers made by one rule, everything else is a literal.
"""

from __future__ import annotations

import ast
import copy
import functools
import itertools
import keyword
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from h5port.module.program import CallSpec, ModuleSpec, Program, Shape, identifier, is_buffer, names_in
from h5port.module.vocabulary import TORCH

WIDTH = 118
LONGEST = 240  # arguments that would be longer stay in config.json
_RUNTIME = Path(__file__).parent.parent / "runtime"
_DTYPES = frozenset("float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split())


_DEFINITION = re.compile(r"^(?:def|class) (\w+).*\n(?:(?:[ )].*)?\n)*", re.MULTILINE)  # down to the next one
_IMPORT = re.compile(r"^(?:import|from) (?!h5port|__future__).*", re.MULTILINE)


class Library:
    """The runtime's source text: top-level functions and classes by name, parsed when they are looked at."""

    def __init__(self) -> None:
        self.text: dict[str, str] = {}
        self.imports: dict[str, str] = {}  # name -> the import that brings it
        self._trees: dict[str, ast.FunctionDef | ast.ClassDef] = {}
        for file in sorted(f for folder in ("functions", "shims") for f in (_RUNTIME / folder).glob("*.py")):
            text = file.read_text(encoding="utf-8")
            for line in _IMPORT.findall(text):
                self._add_import(line)
            for found in _DEFINITION.finditer(text):
                if found[1] in self.text:
                    raise ValueError(f"{found[1]} is defined twice in the runtime")
                self.text[found[1]] = found[0].rstrip()

    def _add_import(self, text: str) -> None:
        (node,) = ast.parse(text).body
        assert isinstance(node, ast.ImportFrom | ast.Import)
        for alias in node.names:
            line = copy.copy(node)
            line.names = [alias]
            self.imports[alias.asname or alias.name] = ast.unparse(line)

    def tree(self, name: str) -> ast.FunctionDef | ast.ClassDef:
        if name not in self._trees:
            (node,) = ast.parse(self.text[name]).body
            assert isinstance(node, ast.FunctionDef | ast.ClassDef)
            self._trees[name] = node
        return self._trees[name]

    def expression(self, name: str) -> tuple[list[str], list[str], ast.expr] | None:
        """(positional parameters, keyword parameters, expression) of a function that is one `return`."""
        node = self.tree(name)
        if not isinstance(node, ast.FunctionDef) or node.args.vararg or node.args.defaults:
            return None
        if len(node.body) != 1 or not isinstance(node.body[0], ast.Return) or node.body[0].value is None:
            return None
        return [a.arg for a in node.args.args], [a.arg for a in node.args.kwonlyargs], node.body[0].value

    def required(self, name: str) -> list[str]:
        """The arguments of a shim that have no default: they are printed by position."""
        node = self.tree(name)
        while isinstance(node, ast.ClassDef):
            made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
            if made and made[0].args.vararg is None:
                arguments = made[0].args.args
                return [a.arg for a in arguments[1 : len(arguments) - len(made[0].args.defaults)]]
            node = self.tree(ast.unparse(node.bases[0]))
        return []

    def closure(self, names: set[str]) -> list[str]:
        """The names with everything of the library that they use, in the order of the library."""
        todo, found = list(names), set[str]()
        while todo:
            name = todo.pop()
            if name in found or name not in self.text:
                continue
            found.add(name)
            todo.extend(n.id for n in ast.walk(self.tree(name)) if isinstance(n, ast.Name))
        return [n for n in self.text if n in found]


@functools.cache
def _library() -> Library:
    return Library()


def print_model(program: Program) -> str:
    """The text of model.py."""
    library = _library()
    used: set[str] = set()
    named = _class_names(program, library)
    classes = {id(p): n for p, n in named}
    paths = _paths(program)
    parts = [_Class(p, classes, library, used, paths[id(p)], root=p is program).text() for p, _ in named]
    pasted = library.closure(used)
    load = _LOAD_CUSTOM if _has(program, "Custom") else _LOAD
    parts += [load.format(name=classes[id(program)])]
    parts += [_ARGUMENT] if any("argument(" in part for part in parts) else []
    body = "\n\n\n".join([*(library.text[n] for n in pasted), *parts])
    imports = _imports(body, library)
    about = _ABOUT.replace("torch and", "torch, numpy and") if "import numpy" in imports else _ABOUT
    text = f'"""{_plain(program.doc)}\n\n{about}\n"""\n\n' + imports + "\n\n\n" + body + "\n"
    return text.encode("ascii", "backslashreplace").decode()  # only string literals can hold anything else


_ABOUT = "Written by h5port. It needs torch and safetensors, nothing else: `from model import load`."

_LOAD = '''def load(path=None):
    """The model in eval(), with the weights of the model.safetensors beside this file."""
    model = {name}()
    model.load_state_dict(load_file(Path(__file__).with_name("model.safetensors") if path is None else path))
    return model.eval()'''

_LOAD_CUSTOM = '''def load(path=None, custom=None):
    """The model in eval(), with the weights of the model.safetensors beside this file.

    `custom` has the replacements that the model was converted with: {{name: factory(config, tensors)}}.
    """
    weights = load_file(Path(__file__).with_name("model.safetensors") if path is None else path)
    model = {name}(weights, custom or {{}})
    model.load_state_dict({{**model.state_dict(), **{{k: v for k, v in weights.items() if k in model.state_dict()}}}})
    return model.eval()


def below(weights, name):
    """The tensors whose names begin with `name.`, without it."""
    return {{k[len(name) + 1 :]: v for k, v in weights.items() if k.startswith(name + ".")}}'''


_ARGUMENT = '''def argument(module, name):
    """A long argument of a module: it stands in the config.json beside this file."""
    spec = {"program": json.loads(Path(__file__).with_name("config.json").read_text(encoding="utf-8"))["program"]}
    for part in module.split("."):
        spec = spec["program"]["modules"][part]
    return spec["args"][name]'''


def _paths(program: Program, prefix: str = "") -> dict[int, str]:
    """Where the modules of each program are: "" at the top, "encoder." in a nested model."""
    paths = {id(program): prefix}
    for name, spec in program.modules.items():
        if spec.program is not None:
            paths |= _paths(spec.program, f"{prefix}{name}.")
    return paths


def _class_names(program: Program, library: Library) -> list[tuple[Program, str]]:
    """All programs, inner ones first, each with a class name of its own."""
    result: list[tuple[Program, str]] = []

    def visit(p: Program) -> None:
        for spec in p.modules.values():
            if spec.program is not None:
                visit(spec.program)
        word = "".join(w.capitalize() for w in identifier(p.name).split("_") if w) or "Model"
        word = word if not word[0].isdigit() and not keyword.iskeyword(word) else f"Model{word}"
        taken = {n for _, n in result} | library.text.keys() | library.imports.keys() | {"Path"}
        n = 1
        name = word
        while name in taken or name.startswith("Keras"):
            n += 1
            name = f"{word.removeprefix('Keras') or 'Model'}{n}"
        result.append((p, name))

    visit(program)
    return result


def _imports(body: str, library: Library) -> str:
    """The import lines that the code needs, in the order of isort."""
    used = {n.id for n in ast.walk(ast.parse(body)) if isinstance(n, ast.Name)}
    known = {**library.imports, "Path": "from pathlib import Path", "partial": "from functools import partial"}
    known |= {"load_file": "from safetensors.torch import load_file", "json": "import json"}
    names: dict[str, list[str]] = {}
    for name in sorted(used & known.keys(), key=lambda n: (not n[0].isupper(), n)):
        module, _, imported = known[name].partition(" import ")
        names.setdefault(module, []).append(imported)
    lines = sorted(f"{m} import {', '.join(n)}" if n != [""] else m for m, n in names.items())
    standard = [x for x in lines if x.split()[1] in ("functools", "json", "pathlib", "re")]
    others = sorted((x for x in lines if x not in standard), key=lambda x: (not x.startswith("import"), x))
    return "\n".join(standard) + "\n\n" + "\n".join(others)


def _plain(text: str) -> str:
    return re.sub(r'[^\x20-\x7e]|["\\]', "?", text)


class _Class:
    """One program as one class."""

    def __init__(
        self, program: Program, classes: dict[int, str], library: Library, used: set[str], path: str, *, root: bool
    ) -> None:
        self.program, self.classes, self.library, self.used, self.root = program, classes, library, used, root
        self.path = path
        self.globals = (
            set(library.text)
            | set(library.imports)
            | set(classes.values())
            | {"partial", "self", "load", "argument", "json"}
        )
        self.names: dict[str, str] = {}
        for value in program.values:
            self.names[value] = (
                identifier(value, self.globals | set(self.names.values())) if value in self.globals else value
            )
        self.reads: dict[str, int] = {}
        for call in program.calls:
            for name in names_in(call.inputs):
                self.reads[name] = self.reads.get(name, 0) + 1
        for name in names_in(program.outputs):
            self.reads[name] = self.reads.get(name, 0) + 1

    def text(self) -> str:
        lines = [f"class {self.classes[id(self.program)]}(nn.Module):", f'    """{self._doc()}"""', ""]
        if self.program.modules:
            own = ", weights, custom" if _has(self.program, "Custom") else ""
            lines += [f"    def __init__(self{own}):", "        super().__init__()"]
            for name, spec in self.program.modules.items():
                lines += [f"        {line}" for line in self._module(name, spec)]
            lines.append("")
        lines += [f"    def forward(self, {', '.join(self._parameters())}):"] + [
            f"        {line}" for line in self._forward()
        ]
        if self.root and _has(self.program, "Memory"):
            self.used.add("Memory")
            lines += ["", "    def reset_states(self):", "        for module in self.modules():"]
            lines += ["            if isinstance(module, Memory):", "                module.reset()"]
        return "\n".join(lines)

    def _doc(self) -> str:
        """What goes in and what comes out, with shapes."""
        inputs = ", ".join(f"{self.names[n]} {self._kind(n)}" for n in names_in(self.program.inputs))
        outputs = ", ".join(self._kind(n) for n in names_in(self.program.outputs))
        text = f"{_plain(self.program.doc)}. In: {inputs}. Out: {outputs}."
        if len(text) < WIDTH - 10:
            return text
        return f"{_plain(self.program.doc)}.\n\n    In:  {inputs}\n    Out: {outputs}\n    "

    def _kind(self, name: str) -> str:
        spec = self.program.values[name]
        return f"{_shape(spec.shape)} {spec.dtype}"

    # ---- modules

    def _module(self, name: str, spec: ModuleSpec) -> Iterator[str]:
        if spec.program is not None:
            own = f'below(weights, "{name}"), custom' if _has(spec.program, "Custom") else ""
            call, args = self.classes[id(spec.program)], [own] if own else []
        elif spec.type == "Custom":
            config = _text(spec.args["config"])
            call, args = f"custom[{spec.args['name']!a}]", [config, f'below(weights, "{name}")']
        else:
            if spec.type in self.library.text:
                self.used.add(spec.type)
                call = spec.type
            else:
                call = f"nn.{spec.type}"
            args = list(self._module_args(name, spec))
        if spec.why:
            yield f"# {_plain(spec.why)}"
        yield from _wrapped(f"self.{name} = {call}", list(args))
        frozen = [t for t, s in spec.tensors.items() if not s.trainable and not is_buffer(t)]
        if spec.type in ("Custom", "Stub"):
            return
        if frozen and len(frozen) == sum(not is_buffer(t) for t in spec.tensors):
            yield f"self.{name}.requires_grad_(False)"
        else:
            for tensor in frozen:
                comment = "  # Keras has one bias" if tensor.startswith("bias_hh") else ""
                yield f"self.{name}.{tensor}.requires_grad_(False){comment}"

    def _module_args(self, name: str, spec: ModuleSpec) -> Iterator[str]:
        known = TORCH.get(spec.type)
        positional = self.library.required(spec.type) if known is None else known.positional
        for key in positional:
            yield self._argument(name, key, spec.args[key])
        for key, value in spec.args.items():
            default = None if known is None else known.defaults.get(key)
            if key not in positional and not (default == value and type(default) is type(value)):
                yield f"{key}={self._argument(name, key, value)}"

    def _argument(self, module: str, key: str, value: Any) -> str:
        text = ast.unparse(self._literal(value))
        return text if len(text) <= LONGEST else f"argument({self.path + module!r}, {key!r})"

    # ---- forward

    def _parameters(self) -> list[str]:
        return ["inputs"] if isinstance(self.program.inputs, dict) else [self.names[n] for n in self.program.inputs]

    def _forward(self) -> Iterator[str]:
        if isinstance(self.program.inputs, dict):
            for key, name in self.program.inputs.items():
                yield f"{self.names[name]} = inputs[{key!a}]"
        statements = list(self._statements())
        reads = [set(_values_in(s.value)) for s in statements]
        last = {name: i for i, names in enumerate(reads) for name in names}
        holder = {name: name for name in names_in(self.program.inputs)}  # printed name -> the value it holds now
        printed = {name: self.names[name] for name in holder}
        for i, statement in enumerate(statements):
            line = ast.unparse(_Renamed(printed).visit(statement.value))
            targets = []
            for value in statement.targets:
                if value in last:
                    name = next(n for n in self._candidates(value) if last.get(holder.get(n, ""), -1) <= i)
                    holder[name], printed[value] = value, name
                    targets.append(name)
                else:
                    targets.append("_")
            if statement.returns:
                yield f"return {line}"
            else:
                yield f"{', '.join(targets)} = {line}" if set(targets) != {"_"} else line

    def _candidates(self, value: str) -> Iterator[str]:
        """Names for a value: that of its layer, again as soon as nobody reads the value that had it."""
        base = re.sub(r"_\d+$", "", value)
        base = self.names[base if base in self.program.values else value]
        yield base
        for n in itertools.count(2):
            name = f"{base}_{n}"
            if name in self.globals:
                continue
            if name not in self.names.values() or name == self.names[value] or re.sub(r"_\d+$", "", name) == base:
                yield name

    def _statements(self) -> Iterator[_Statement]:
        """The calls as assignments. A value that is read once is written where it is read, if the line stays short."""
        pending: dict[str, ast.expr] = {}
        for call in self.program.calls:
            build = functools.partial(self._call, call)
            yield from self._shortened(pending, list(names_in(call.inputs)), build)
            expression = self._call(call, pending)
            if len(call.outputs) == 1 and self._may_fold(call):
                pending[call.outputs[0]] = expression
            else:
                yield _Statement(expression, call.outputs)
        outputs = self.program.outputs
        yield from self._shortened(pending, list(names_in(outputs)), lambda p: self._structure(outputs, p))
        yield _Statement(self._structure(outputs, pending), (), returns=True)

    def _shortened(
        self, pending: dict[str, ast.expr], operands: list[str], build: Callable[[dict[str, ast.expr]], ast.expr]
    ) -> Iterator[_Statement]:
        """Give the longest folded operands lines of their own until the expression fits into one."""
        while len(ast.unparse(build(dict(pending)))) > WIDTH - 40:
            folded = [n for n in operands if n in pending]
            if not folded:
                return
            name = max(folded, key=lambda n: len(ast.unparse(pending[n])))
            yield _Statement(pending.pop(name), (name,))

    def _may_fold(self, call: CallSpec) -> bool:
        """A value that is read once may be written where it is read; states are read and kept at their own places."""
        name = call.outputs[0]
        kept = call.target in ("recall", "remember")
        return self.reads.get(name) == 1 and not kept and not self._is_read_often(name)

    def _is_read_often(self, name: str) -> bool:
        """Whether the one reader uses it more than once in its expression, or the line would be too long to read."""
        for call in self.program.calls:
            if name in set(names_in(call.inputs)):
                template = None if call.target.startswith("@") else self.library.expression(call.target)
                if template is None:
                    return False
                positional, _, expression = template
                for parameter, operand in zip(positional, call.inputs, strict=False):
                    if name in set(names_in(operand)):
                        uses = sum(isinstance(n, ast.Name) and n.id == parameter for n in ast.walk(expression))
                        return uses > 1
        return False

    def _call(self, call: CallSpec, pending: dict[str, ast.expr]) -> ast.expr:
        operands = list(call.inputs)
        while operands and operands[-1] is None:
            operands.pop()
        folded = {n: pending.pop(n) for o in operands for n in names_in(o) if n in pending}
        args = [self._operand(o, folded) for o in operands]
        keywords = {k: self._literal(v) for k, v in call.args.items()}
        if call.target.startswith("@"):
            return _apply(ast.Attribute(ast.Name("self"), call.target[1:]), args, keywords)
        template = self.library.expression(call.target)
        if template is None:
            self.used.add(call.target)
            return _apply(ast.Name(call.target), args, keywords)
        positional, _, expression = template
        return self._written_out(expression, {**dict(zip(positional, args, strict=True)), **keywords})

    def _written_out(self, expression: ast.expr, names: dict[str, ast.expr]) -> ast.expr:
        class Put(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.expr:
                return _copied(names[node.id]) if node.id in names else node

            def visit_Starred(self, node: ast.Starred) -> ast.expr:
                node.value = self.visit(node.value)
                return node

        self.used |= {n.id for n in ast.walk(expression) if isinstance(n, ast.Name) and n.id in self.library.text}
        return _spread(Put().visit(_copied(expression)))

    def _operand(self, operand: Any, folded: dict[str, ast.expr]) -> ast.expr:
        if isinstance(operand, str):
            if operand.startswith("@"):
                return ast.Attribute(ast.Name("self"), operand[1:])
            return folded.get(operand) or _value(operand)
        if isinstance(operand, list | tuple):
            return ast.List([self._operand(o, folded) for o in operand])
        return self._literal(operand)

    def _literal(self, value: Any) -> ast.expr:
        if isinstance(value, dict) and value.keys() == {"function", "args"}:
            return self._function(value["function"], value["args"])
        if isinstance(value, str) and value in _DTYPES:
            return ast.Attribute(ast.Name("torch"), value)
        return ast.parse(_text(value), mode="eval").body

    def _function(self, name: str, args: dict[str, Any]) -> ast.expr:
        """A function as a value: torch's own where ours only hands on, otherwise ours, pasted."""
        template = self.library.expression(name)
        if not args and template is not None:
            positional, keywords, expression = template
            plain = not keywords and isinstance(expression, ast.Call) and not expression.keywords
            if plain and [ast.unparse(a) for a in expression.args] == positional:  # type: ignore[attr-defined]
                return expression.func  # type: ignore[attr-defined, no-any-return]
        self.used.add(name)
        if not args:
            return ast.Name(name)
        return _apply(ast.Name("partial"), [ast.Name(name)], {k: self._literal(v) for k, v in args.items()})

    def _structure(self, names: Any, pending: dict[str, ast.expr]) -> ast.expr:
        if isinstance(names, dict):
            return ast.Dict([ast.Constant(k) for k in names], [self._structure(v, pending) for v in names.values()])
        if isinstance(names, list | tuple):
            values = [self._structure(v, pending) for v in names]
            if self.root:
                return ast.List(values)
            return values[0] if len(values) == 1 else ast.Tuple(values)
        return pending.get(names) or _value(names)


class _Statement(NamedTuple):
    """`targets` are values; names in `value` that are values are renamed when the line is printed."""

    value: ast.expr
    targets: tuple[str, ...]
    returns: bool = False


_VALUE = "%"  # marks the names of values until they are printed: functions and modules have names, too


def _value(name: str) -> ast.expr:
    return ast.Name(_VALUE + name)


def _values_in(expression: ast.expr) -> Iterator[str]:
    for node in ast.walk(expression):
        if isinstance(node, ast.Name) and node.id.startswith(_VALUE):
            yield node.id[1:]


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name(self.names[node.id[1:]]) if node.id.startswith(_VALUE) else node


def _text(value: Any) -> str:
    """A literal in ASCII; numbers that Python has no literal for are made of their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(k)}: {_text(v)}" for k, v in value.items()) + "}"
    return f"[{', '.join(map(_text, value))}]" if isinstance(value, list) else ascii(value)


def _apply(function: ast.expr, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr:
    return ast.Call(function, args, [ast.keyword(k, v) for k, v in keywords.items()])


def _copied(node: Any) -> Any:
    """A tree of its own, without the places in the text."""
    if isinstance(node, list):
        return [_copied(n) for n in node]
    if isinstance(node, ast.AST):
        return type(node)(**{field: _copied(value) for field, value in ast.iter_fields(node)})
    return node


def _spread(expression: ast.expr) -> ast.expr:
    """f(*[1, 2]) -> f(1, 2)."""

    class Spread(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.expr:
            self.generic_visit(node)
            flat: list[ast.expr] = []
            for a in node.args:
                flat += (
                    a.value.elts if isinstance(a, ast.Starred) and isinstance(a.value, ast.List | ast.Tuple) else [a]
                )
            node.args = flat
            return node

    spread: ast.expr = Spread().visit(expression)
    return spread


def _wrapped(call: str, args: list[str]) -> Iterator[str]:
    """A call on one line, or with an argument a line."""
    line = f"{call}({', '.join(args)})"
    if len(line) <= WIDTH - 8 or not args:
        yield line
        return
    yield f"{call}("
    yield from (f"    {a}," for a in args)
    yield ")"


def _shape(shape: Shape | None) -> str:
    if shape is None:
        return "(...)"
    inner = ", ".join("N" if i == 0 and n is None else "?" if n is None else str(n) for i, n in enumerate(shape))
    return f"({inner}{',' if len(shape) == 1 else ''})"


def _has(program: Program, kind: str) -> bool:
    """Whether a module of this type is in the program or in one inside it."""
    return any(s.type == kind or (s.program is not None and _has(s.program, kind)) for s in program.modules.values())
