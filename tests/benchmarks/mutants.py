"""Mutation testing: do the fast tests of a module notice small faults in it?

``python -m tests.benchmarks.mutants [--count N] [--seed S] [MODULE ...]`` tries N mutants of each
module, drawn at random: a comparison turned, a constant moved by one, a condition negated, a
branch or call removed, an operator swapped, a result replaced by None. It prints those that
survive. mutmut 3 works here too, but makes 2,107 mutants of these modules, many of them of message
texts, needs two minutes before the first, and cannot draw a sample.
"""

import argparse
import ast
import importlib
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location

import pytest
from hypothesis import Phase, settings

from tests.conftest import ROOT

TESTS = {
    "retrain/gate": "retrain/test_gate.py",
    "model/metrics": "model/test_metrics.py",
    "serving/calibration": "serving/test_calibration.py",
    "training/checkpoint": "training/test_checkpoint.py",
    "serving/config": "serving/test_config.py",
    "serving/torch_bundle": "serving/test_torch_bundle.py",
    "serving/predictor": "serving/test_predictor.py",
    "corpus/normalize": "corpus/test_normalize.py",
    "serving/measure": "serving/test_measure.py",
    "serving/shares": "serving/test_shares.py",
    "serving/held_out": "serving/test_held_out.py serving/test_config.py serving/test_measure.py",
    "commands/shares": "commands/test_shares.py",
}
# Imported once, before the process of each mutant is forked: they take seconds.
SLOW = "torch safetensors.torch scipy.optimize scipy.sparse sklearn.metrics pandas pydantic"
SLOW += " hypothesis.extra.numpy ruamel.yaml anyascii onnxruntime"
SWAPS = "Lt LtE,Gt GtE,Lt GtE,LtE Gt,Eq NotEq,In NotIn,Is IsNot,And Or,Add Sub,Mult Div,Pow Mult"
SWAPS += ",LShift RShift,BitAnd BitOr,BitXor BitAnd,USub UAdd,FloorDiv Mult"


def alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """Faults that may stand in the place of a node."""
    for pair in map(str.split, SWAPS.split(",")):
        if type(node).__name__ in pair:
            yield getattr(ast, pair[type(node).__name__ == pair[0]])()
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.If(test, body, other) if "TYPE_CHECKING" not in ast.unparse(test):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, other)
            yield ast.If(test, [ast.Pass()], other)
        case ast.IfExp(test, body, other):
            yield ast.IfExp(test, other, body)
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Return(value=ast.AST() as value) if ast.unparse(value) != "None":
            yield ast.Return(ast.Constant(None))


def mutants(tree: ast.Module, node: ast.AST, near: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Each mutant of what is below ``node`` as text and tree; the tree is valid until the next."""
    near = node if isinstance(node, ast.expr | ast.stmt) else near
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        nodes = value if isinstance(value, list) else [value]
        for n, old in enumerate(nodes):
            for new in alternatives(old):
                where = old if isinstance(old, ast.stmt) else near
                before = ast.unparse(where).split("\n")
                nodes[n] = new
                setattr(node, field, nodes if isinstance(value, list) else new)
                ast.fix_missing_locations(tree)
                after = ast.unparse(new if where is old else near).split("\n")
                yield f"{where.lineno}: {before[0]}  ->  {'; '.join(after[:2])}", tree
                nodes[n] = old
                setattr(node, field, value)
            if isinstance(old, ast.AST):
                yield from mutants(tree, old, near)


class Mutant(SourceFileLoader):
    """Imports one module from a tree instead of its file."""

    code = None

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, name: str):
        return self.code


def survives(loader: Mutant, test: str, limit: float) -> bool:
    """Whether the tests pass, in a process of their own."""
    child = os.fork()
    if not child:
        os.setsid()
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        sys.meta_path.insert(0, loader)
        # One counterexample is enough: it need not be made small.
        fast = settings(settings.get_profile("onoma"), phases=[Phase.explicit, Phase.generate])
        settings.register_profile("mutants", fast)
        settings.load_profile("mutants")
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        options = ["-x", "-m", "not slow", "-p", "no:cacheprovider"]
        os._exit(pytest.main([*options, *(str(ROOT / "tests" / t) for t in test.split())]))
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("modules", nargs="*", default=list(TESTS))
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for name in SLOW.split():
        importlib.import_module(name)
    for module in args.modules:
        path = ROOT / "stages" / f"{module}.py"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        loader = Mutant("stages." + module.replace("/", "."), str(path))
        loader.code = compile(tree, path, "exec")
        start = time.monotonic()
        if not survives(loader, TESTS[module], 300):
            sys.exit(f"{TESTS[module]} fails without a mutant")
        limit = 5 + 3 * (time.monotonic() - start)
        found = [(text, compile(tree, path, "exec")) for text, _ in mutants(tree, tree, tree)]
        chosen = random.Random(f"{args.seed} {module}").sample(found, min(args.count, len(found)))
        left = []
        for text, loader.code in chosen:
            left += [text] if survives(loader, TESTS[module], limit) else []
        killed = len(chosen) - len(left)
        print(f"{module}: {killed}/{len(chosen)} killed, of {len(found)}", flush=True)
        print("".join(f"  {path.name}:{text}\n" for text in sorted(left)), end="", flush=True)


if __name__ == "__main__":
    main()
