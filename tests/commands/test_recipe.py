"""`onoma recipe`: flags for `dvc exp run`, whose values are those of params.yaml that it names."""

import pytest
from ruamel.yaml import YAML

from stages.commands import cli
from stages.commands.recipe import RECIPES
from stages.core.params import Params
from tests.conftest import ROOT

MACHINE = {"device", "processes", "threads", "precision", "checkpoint_minutes"}


@pytest.mark.parametrize("name", RECIPES)
def test_flags_set_values_that_params_yaml_takes_and_no_key_of_the_machine(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["recipe", name]) == 0
    flags = capsys.readouterr().out.split()
    assert set(flags[::2]) == {"-S"}
    yaml = YAML(typ="safe")
    shipped, changed = (yaml.load(ROOT / "params.yaml") for _ in range(2))
    for key, value in (flag.split("=") for flag in flags[1::2]):
        block, key = key.split(".")
        assert key in shipped[block] and key not in MACHINE
        changed[block][key] = yaml.load(value)
    Params.check(changed, ROOT / "params.yaml")
    assert (changed == shipped) == (name == "default")
