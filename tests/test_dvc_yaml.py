"""dvc.yaml against the code: DVC cannot see imports or which parameters are read."""

import re
from functools import cache
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT

STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PARAMS = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@cache
def import_graph() -> grimp.ImportGraph:
    return grimp.build_graph("stages", cache_dir=None)


def local_imports(stage: str) -> set[str]:
    """The project's modules that a stage imports, itself included, transitively."""
    modules = {stage, *import_graph().find_upstream_modules(stage)} - {"stages"}
    return {f"{module.replace('.', '/')}.py" for module in modules}


def read_params(path: Path) -> set[str]:
    """Parameters that a stage's own module reads: ``params.BLOCK[.KEY]``, or a whole block."""
    text = path.read_text(encoding="utf-8")
    one_block = re.search(r"params = Params\.load\(.*?\)\.(\w+)", text)
    if one_block:
        return {one_block[1]}
    found = set()
    for block, key in re.findall(r"\bparams\.(\w+)(?:\.(\w+))?", text):
        if block in PARAMS:
            found.add(f"{block}.{key}" if key else block)
    return found


@pytest.mark.parametrize("name", STAGES)
def test_what_a_stage_imports_are_its_deps_and_nothing_else_is(name: str) -> None:
    """A dependency is a file, or a room of which at least one file is imported."""
    deps = {dep for dep in STAGES[name]["deps"] if dep.startswith("stages/")}
    modules = local_imports(f"stages.{name}")
    covering = {module: {module, str(Path(module).parent)} & deps for module in modules}
    assert all(len(found) == 1 for found in covering.values()), covering
    assert set.union(*covering.values()) == deps


@pytest.mark.parametrize("name", STAGES)
def test_the_params_of_a_stage_are_those_that_it_reads(name: str) -> None:
    read = read_params(ROOT / f"stages/{name}.py")
    # stages/__init__.py reads this one.
    declared = {*STAGES[name].get("params", [])} - {"train.arithmetic"}
    assert all({param, param.split(".")[0]} & declared for param in read), (read, declared)
    for param in declared:
        assert any(key == param or key.startswith(f"{param}.") for key in read), param


def test_what_is_computed_depends_on_the_arithmetic_and_no_model_on_the_page_or_the_graph() -> None:
    for name in ("train", "evaluate", "export", "baseline", "hello"):
        assert {"train", "train.arithmetic"} & set(STAGES[name]["params"]), name
    assert "stages/serving" not in STAGES["train"]["deps"]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_a_module_that_reads_params_yaml_and_uses_the_run_cache(name: str) -> None:
    stage = STAGES[name]
    assert stage["desc"]
    assert stage["cmd"] == f"python -m stages.{name}"
    assert all(isinstance(entry, str) for entry in stage.get("params", []))
    assert "always_changed" not in stage
    assert "plots" not in stage, "the files of plots are drawn by the plots of dvc.yaml"
    for out in stage.get("outs", []):
        if isinstance(out, dict):  # small and committed: declared here, not under plots
            ((path, options),) = out.items()
            assert path.startswith("metrics/"), f"{path}: persist or cache: false"
            assert options == {"cache": False}, path
