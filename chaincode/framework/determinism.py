"""A lint for contracts: what peers might compute differently, found in the source.

``python -m chaincode.framework.determinism PATH...`` prints what it finds and exits with 1. Places
that are right by another argument are excused in ``pyproject.toml``, each with its reason::

    [[tool.medfabric.determinism.allow]]
    place = "contracts/ward.py::WardContract.share"
    rule = "float"
    reason = "Decimal division in a fixed context"

It reads one expression at a time: it knows a set by a literal, a call, an annotation, or a name
that was given one, not by a value that came a longer way. Executing every transaction twice, in
interpreters with other hash seeds, finds the rest.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RULES = {
    "import": "modules that may not depend on machine, time or chance are imported, no others",
    "builtin": "a built-in that depends on the process, or reaches out of it",
    "float": "floats round, and divide, as the machine does; use scaled integers",
    "set": "the order of a set differs between interpreters; sort it",
    "memory": "what one transaction leaves in memory another peer may not have",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODULES = _words(
    "__future__ abc base64 binascii bisect collections contextlib copy dataclasses decimal enum "
    "fractions functools hashlib heapq hmac itertools json operator re string struct textwrap "
    "types typing urllib.parse pydantic chaincode fabric_protos"
)
"""Modules whose parts give every peer the same, besides those of the linted folders."""

_BUILTINS = _words("open input print hash id eval exec compile __import__ breakpoint globals")
_EXACT = _words("ceil comb factorial floor gcd isqrt lcm perm prod")
"""Functions of ``math`` over integers."""

_UNORDERED = _words("sorted set frozenset any all len min max sum bool")
"""Built-ins whose result does not depend on the order of what they take."""
_ORDERED = _words("list tuple enumerate zip map filter iter reversed next str repr")
_SET_TYPES = _words("set frozenset Set FrozenSet AbstractSet MutableSet KeysView")
_SET_METHODS = _words("union intersection difference symmetric_difference copy")


@dataclass(frozen=True, order=True)
class Finding:
    """A breach of a rule. ``place`` is ``FILE::Class.function``."""

    place: str
    line: int
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}:{self.line}: {self.rule}: {self.what} ({RULES[self.rule]})"


@dataclass(frozen=True)
class Allowance:
    """An excused place."""

    place: str
    rule: str
    reason: str


@dataclass
class _Known:
    """What is a set, by name, over all files: attributes, and what functions return."""

    attributes: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)


def check(paths: Sequence[Path], root: Path) -> list[Finding]:
    """Findings in Python files and folders, sorted; places are relative to ``root``.

    Raises:
        OSError: a path cannot be read.
        SyntaxError: a file is no Python.
    """
    files = sorted({file for path in paths for file in _files(path)})
    trees = {file: ast.parse(file.read_bytes(), str(file)) for file in files}
    own = {file.stem for file in files} | {path.name for path in paths}
    known = _Known(modules=own - sys.stdlib_module_names)
    for tree in trees.values():
        _learn(tree, known)
    found: list[Finding] = []
    for file, tree in trees.items():
        visitor = _Visitor(_shown(file, root), known, _private(tree))
        visitor.visit(tree)
        found += visitor.findings
    return sorted(set(found))


def _files(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return path.rglob("*.py")
    path.stat()
    return [path]


def _shown(file: Path, root: Path) -> str:
    resolved = file.resolve()
    return str(resolved.relative_to(root) if resolved.is_relative_to(root) else file)


def _learn(tree: ast.Module, known: _Known) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                    _remember(known.attributes, part.target.id, part.annotation)
        elif isinstance(node, ast.FunctionDef) and _is_set_type(node.returns):
            is_property = any(
                isinstance(mark, ast.Name) and mark.id in ("property", "cached_property")
                for mark in node.decorator_list
            )
            (known.attributes if is_property else known.functions).add(node.name)


def _private(tree: ast.Module) -> frozenset[str]:
    """Functions of this file alone, by the convention of their names, that return no set."""
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("_")
        and not _is_set_type(node.returns)
    )


def _remember(names: set[str], name: str, annotation: ast.expr | None) -> None:
    if _is_set_type(annotation):
        names.add(name)


def _is_set_type(annotation: ast.expr | None) -> bool:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    if isinstance(annotation, ast.BinOp):
        return _is_set_type(annotation.left) or _is_set_type(annotation.right)
    name = annotation.attr if isinstance(annotation, ast.Attribute) else annotation
    return (name.id if isinstance(name, ast.Name) else name) in _SET_TYPES


class _Visitor(ast.NodeVisitor):
    """Walks one file. ``_sets`` are the names that hold sets, by scope."""

    def __init__(self, file: str, known: _Known, others: frozenset[str]) -> None:
        self.findings: list[Finding] = []
        self._others = others
        self._file = file
        self._known = known
        self._scope: list[str] = []
        self._sets: list[set[str]] = [set()]
        self._harmless: set[ast.AST] = set()

    def _find(self, node: ast.AST, rule: str, what: str) -> None:
        place = f"{self._file}::{'.'.join(self._scope)}" if self._scope else self._file
        self.findings.append(Finding(place, getattr(node, "lineno", 0), rule, what))

    # scopes

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._enter(node, node.name)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        names: set[str] = set()
        for argument in every:
            _remember(names, argument.arg, argument.annotation)
        self._enter(node, node.name, names)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._find(node, "import", "a coroutine's turns depend on the machine")
        self.visit_FunctionDef(node)

    def _enter(self, node: ast.AST, name: str, names: set[str] | None = None) -> None:
        self._scope.append(name)
        self._sets.append(names or set())
        self.generic_visit(node)
        self._sets.pop()
        self._scope.pop()

    # modules and names

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if module == "math":
            for alias in node.names:
                if alias.name not in _EXACT:
                    self._find(node, "float", f"math.{alias.name}")
        elif not node.level:
            self._import(node, module)

    def _import(self, node: ast.AST, module: str) -> None:
        first = module.partition(".")[0]
        known = MODULES | self._known.modules | {"math"}
        if first not in known and module not in known:
            self._find(node, "import", module)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id in _BUILTINS:
            self._find(node, "builtin", node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        is_math = isinstance(node.value, ast.Name) and node.value.id == "math"
        if is_math and node.attr not in _EXACT:
            self._find(node, "float", f"math.{node.attr}")
        self.generic_visit(node)

    # floats

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, float | complex):
            self._find(node, "float", f"the literal {node.value}")

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Div):
            self._find(node, "float", "a division by /")
        negative = isinstance(node.right, ast.UnaryOp) and isinstance(node.right.op, ast.USub)
        if isinstance(node.op, ast.Pow) and negative:
            self._find(node, "float", "a negative power")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.Div):
            self._find(node, "float", "a division by /=")
        self._left_behind(node.target)
        self.generic_visit(node)

    # sets

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            self._given(target, self._is_set(node.value), node.value)
            self._left_behind(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        is_set = _is_set_type(node.annotation) or self._is_set(node.value)
        self._given(node.target, is_set, node.value)
        if node.value is not None:
            self._left_behind(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.generic_visit(node)
        self._given(node.target, self._is_set(node.value), node.value)

    def _given(self, target: ast.expr, is_set: bool, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            (self._sets[-1].add if is_set else self._sets[-1].discard)(target.id)
        elif is_set and value is not None and isinstance(target, ast.Tuple | ast.List):
            self._find(value, "set", "unpacked")

    def visit_For(self, node: ast.For) -> None:
        self._ordered(node.iter, "iterated")
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        if node not in self._harmless:
            self._ordered(node.iter, "iterated")
        self.generic_visit(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._harmless.update(node.generators)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        if node not in self._harmless:
            self._ordered(node.value, "unpacked")
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        self._harmless.update(node.elts)
        self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        self._ordered(node.value, "written out")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Name):
            if function.id == "float":
                self._find(node, "float", "float()")
            if function.id in _UNORDERED:
                self._excuse(node.args)
            elif function.id in _ORDERED:
                for argument in node.args:
                    self._ordered(argument, f"given to {function.id}()")
        elif isinstance(function, ast.Attribute):
            self._method(node, function)
        self.generic_visit(node)

    def _method(self, node: ast.Call, function: ast.Attribute) -> None:
        if function.attr == "pop" and self._is_set(function.value):
            self._find(node, "set", "popped")
        if function.attr in ("join", "extend", "fromkeys", "chain", "from_iterable"):
            for argument in node.args:
                self._ordered(argument, f"given to {function.attr}()")
        if function.attr in ("update", "union", "issubset", "issuperset", "isdisjoint"):
            self._excuse(node.args)

    def _excuse(self, arguments: Iterable[ast.expr]) -> None:
        """Generators and stars whose order does not matter where they go."""
        for argument in arguments:
            self._harmless.add(argument)
            if isinstance(argument, ast.GeneratorExp | ast.ListComp):
                self._harmless.update(argument.generators)

    def _ordered(self, node: ast.expr, how: str) -> None:
        if self._is_set(node):
            self._find(node, "set", f"{ast.unparse(node)} {how}")

    def _is_set(self, node: ast.expr | None) -> bool:
        if isinstance(node, ast.Set | ast.SetComp):
            return True
        if isinstance(node, ast.Name):
            return any(node.id in names for names in self._sets)
        if isinstance(node, ast.Attribute):
            return node.attr in self._known.attributes
        if isinstance(node, ast.BinOp) and isinstance(
            node.op, ast.BitOr | ast.BitAnd | ast.BitXor | ast.Sub
        ):
            return self._is_set(node.left) or self._is_set(node.right)
        if isinstance(node, ast.IfExp):
            return self._is_set(node.body) or self._is_set(node.orelse)
        return isinstance(node, ast.Call) and self._returns_set(node)

    def _returns_set(self, node: ast.Call) -> bool:
        function = node.func
        if isinstance(function, ast.Name):
            returning = self._known.functions - self._others
            return function.id in ("set", "frozenset") or function.id in returning
        if not isinstance(function, ast.Attribute):
            return False
        if function.attr in _SET_METHODS and self._is_set(function.value):
            return True
        return function.attr in self._known.functions

    # memory

    def visit_Global(self, node: ast.Global) -> None:
        self._find(node, "memory", f"global {', '.join(node.names)}")

    def _left_behind(self, target: ast.expr) -> None:
        beginning = self._scope and self._scope[-1] in ("__init__", "__post_init__")
        is_own = (
            isinstance(target, ast.Attribute)
            and isinstance(target.value, ast.Name)
            and target.value.id in ("self", "cls")
        )
        if is_own and not beginning:
            self._find(target, "memory", ast.unparse(target))


def load_allowances(pyproject: Path) -> tuple[Allowance, ...]:
    """The excused places; none where there is no file.

    Raises:
        ValueError: an entry lacks its place, rule or reason.
    """
    if not pyproject.exists():
        return ()
    content = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    entries = content.get("tool", {}).get("medfabric", {}).get("determinism", {}).get("allow", [])
    made = []
    for entry in entries:
        if set(entry) != {"place", "rule", "reason"} or not all(entry.values()):
            raise ValueError(f"an excused place has place, rule and reason: {entry}")
        made.append(Allowance(**entry))
    return tuple(made)


def judge(findings: Iterable[Finding], allowed: Sequence[Allowance]) -> Iterator[str]:
    """What is not excused, and excuses that nothing needs any more."""
    used: set[tuple[str, str]] = set()
    excused = {(one.place, one.rule) for one in allowed}
    for finding in findings:
        key = (finding.place, finding.rule)
        if key in excused:
            used.add(key)
        else:
            yield str(finding)
    for key in sorted(excused - used):
        yield f"{key[0]}: {key[1]}: excused for nothing; remove it from pyproject.toml"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m chaincode.framework.determinism", description="Lints contracts."
    )
    parser.add_argument("paths", nargs="+", type=Path)
    paths = parser.parse_args().paths
    root = Path.cwd()
    lines = list(judge(check(paths, root), load_allowances(root / "pyproject.toml")))
    for line in lines:
        print(line)
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
