"""No callback is planted in a part that is finished: whatever a part calls, it is given at
construction, or it publishes on the bus (supervisor/fleet/bus.py).

A callback that is set later is an arrow between rooms that no import shows, and a part that works
only after somebody has remembered to finish it. Read from the source.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("sessions", "supervisor", "api")
REGISTRY = {
    ("Bus", "subscribe"): "the one place where subscribers are registered",
    ("Gate", "registered"): "a session says with its registration what takes its charges back",
}
"""The methods that keep a callable, and why."""
HOOKS = ("sys", "threading")
"""Python's own modules, whose hooks are set in no other way."""


def trees(root: Path = ROOT) -> dict[str, ast.Module]:
    """Every Python file of the rooms, parsed."""
    return {
        str(file.relative_to(root)): ast.parse(file.read_text(encoding="utf-8"))
        for room in ROOMS
        for file in sorted((root / room).rglob("*.py"))
        if "node_modules" not in file.parts
    }


def callable_names(modules: dict[str, ast.Module]) -> set[str]:
    """`Callable`, and the names that stand for one: aliases, and protocols with `__call__`."""
    names = {"Callable"}
    for module in modules.values():
        for node in module.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if _names(value, names):
                    names.add(name)
                case ast.ClassDef(name=name, body=body) if any(
                    isinstance(one, ast.FunctionDef) and one.name == "__call__" for one in body
                ):
                    names.add(name)
    return names


def planted(modules: dict[str, ast.Module]) -> list[str]:
    """Where a callback is planted: file, line and what is done there."""
    names = callable_names(modules)
    attributes = {
        attribute for module in modules.values() for attribute in _attributes(module, names)
    }
    found = []
    for file, module in modules.items():
        for node in ast.walk(module):
            found += [
                f"{file}:{target.lineno}: sets {ast.unparse(target)}"
                for target, value in _set(node)
                if target.attr in attributes or isinstance(value, ast.Lambda)
            ]
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr":
                found.append(f"{file}:{node.lineno}: {ast.unparse(node)}")
            if isinstance(node, ast.ClassDef):
                found += [f"{file}:{line}: {what}" for line, what in _kept(node, names)]
    return found


def _set(node: ast.AST) -> Iterator[tuple[ast.Attribute, ast.expr | None]]:
    """The attributes of other objects that a statement sets, and to what."""
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if (
                isinstance(target, ast.Attribute)
                and not _is_self(target.value)
                and ast.unparse(target.value) not in HOOKS
            ):
                yield target, node.value


def _attributes(module: ast.Module, names: set[str]) -> Iterator[str]:
    """The attributes of a module's classes that are annotated as callables, or are set to one of
    the constructor's callable parameters.
    """
    for node in ast.walk(module):
        if isinstance(node, ast.AnnAssign) and _names(node.annotation, names):
            if isinstance(node.target, ast.Attribute):
                yield node.target.attr
            elif isinstance(node.target, ast.Name):
                yield node.target.id
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            given = _callables(node, names)
            for one in ast.walk(node):
                if (
                    isinstance(one, ast.Assign)
                    and isinstance(one.targets[0], ast.Attribute)
                    and isinstance(one.value, ast.Name)
                    and one.value.id in given
                ):
                    yield one.targets[0].attr


def _kept(of: ast.ClassDef, names: set[str]) -> Iterator[tuple[int, str]]:
    """Methods, but for the constructor, that keep a callable which they are given."""
    for method in of.body:
        if (
            not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
            or method.name == "__init__"
            or (of.name, method.name) in REGISTRY
        ):
            continue
        given = _callables(method, names)
        for node in ast.walk(method):
            kept = None
            match node:
                case ast.Assign(targets=[ast.Attribute(value=owner)], value=ast.Name(id=name)) | (
                    ast.Assign(
                        targets=[ast.Subscript(value=ast.Attribute(value=owner))],
                        value=ast.Name(id=name),
                    )
                ):
                    kept = name if _is_self(owner) else None
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Attribute(value=owner), attr="append" | "add" | "insert"
                    ),
                    args=[*_, ast.Name(id=name)],
                ):
                    kept = name if _is_self(owner) else None
            if kept in given:
                yield method.lineno, f"{of.name}.{method.name} keeps the callable {kept!r}"


def _callables(function: ast.FunctionDef | ast.AsyncFunctionDef, names: set[str]) -> set[str]:
    arguments = [*function.args.args, *function.args.kwonlyargs, *function.args.posonlyargs]
    return {
        one.arg for one in arguments if one.annotation is not None and _names(one.annotation, names)
    }


def _names(annotation: ast.expr, names: set[str]) -> bool:
    """Whether an annotation is one of those names, or one of them or None: not a container of
    them.
    """
    match annotation:
        case ast.Constant(value=str(text)):
            try:
                return _names(ast.parse(text, mode="eval").body, names)
            except SyntaxError:  # a text, not an annotation in quotes
                return False
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in names
        case ast.Subscript(value=value, slice=of):
            return _names(value, names) or (ast.unparse(value) == "Final" and _names(of, names))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _names(left, names) or _names(right, names)
        case _:
            return False


def _is_self(owner: ast.expr) -> bool:
    return isinstance(owner, ast.Name) and owner.id in {"self", "cls"}


def test_no_callback_is_planted_after_construction() -> None:
    assert planted(trees()) == []


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("gate.on_excused = self.excuse", "sets gate.on_excused"),
        ("store.told = lambda health: None", "sets store.told"),
        ("self._gate.on_excused = excuse", "sets self._gate.on_excused"),
        ("setattr(gate, 'on_excused', excuse)", "setattr(gate, 'on_excused', excuse)"),
        (
            "class Store:\n  def watch(self, told: Told) -> None:\n    self._told.append(told)",
            "Store.watch keeps the callable 'told'",
        ),
        (
            "class Store:\n  def watch(self, k: int, told: Told) -> None:\n    self._of[k] = told",
            "Store.watch keeps the callable 'told'",
        ),
        (
            "class Store:\n  @on.setter\n  def on(self, told: Told | None):\n    self._told = told",
            "Store.on keeps the callable 'told'",
        ),
    ],
)
def test_each_way_of_planting_one_is_found(source: str, what: str) -> None:
    gate = (
        "Told = Callable[[int], None]\n"
        "class Gate:\n"
        "  def __init__(self, publish: Told, now: int):\n"
        "    self.on_excused: Callable[[], None] | None = None\n"
        "    self.publish = publish\n"
        "    self.now = now\n"
    )
    modules = {"gate.py": ast.parse(gate), "other.py": ast.parse(source)}
    (found,) = planted(modules)
    assert found.startswith("other.py:")
    assert found.endswith(what)
    assert planted({"gate.py": ast.parse(gate), "o.py": ast.parse("gate.now = 7")}) == []
    planting = {"gate.py": ast.parse(gate), "o.py": ast.parse("gate.publish = told")}
    assert planted(planting) == ["o.py:1: sets gate.publish"], "one that was given at construction"
