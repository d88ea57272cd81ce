"""`onoma recipe`: params.yaml alone decides; a recipe is a set of values in it."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.commands.recipe import RECIPES, load
from stages.core.params import Params
from tests.conftest import ROOT, run, set_params

MACHINE = {"device", "processes", "threads", "precision", "checkpoint_minutes"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def onoma(folder: Path, *arguments: str) -> str:
    done = run(folder, "onoma", "recipe", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_params_yaml_is_shipped_with_the_default_recipe() -> None:
    shipped = Params.load(ROOT / "params.yaml").model_dump()
    for block, values in load("default").items():
        for key, value in values.items():
            assert shipped[block][key] == value, key


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_changes_model_and_training_and_no_key_of_the_machine(name: str) -> None:
    values = load(name)
    assert values.keys() <= {"model", "train"}
    assert not values["train"].keys() & MACHINE
    assert values.keys() == load("default").keys()
    for block in values:
        assert values[block].keys() == load("default")[block].keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast", "seed", "thorough"])
def test_a_recipe_is_written_into_params_yaml_and_default_takes_it_back(
    folder: Path, name: str
) -> None:
    before = (folder / "params.yaml").read_text()
    assert f"wrote {name} into params.yaml" in onoma(folder, name)
    written = Params.load(folder / "params.yaml").model_dump()
    for block, values in load(name).items():
        assert {key: written[block][key] for key in values} == values
    after = (folder / "params.yaml").read_text()
    comments = [line.partition("# ")[2] for line in before.splitlines()]
    assert [line.partition("# ")[2] for line in after.splitlines()] == comments
    assert "has the values of" in onoma(folder, name), "a second time there is nothing to write"
    onoma(folder, "default")
    assert (folder / "params.yaml").read_text() == before


def test_what_a_person_set_in_other_keys_stays(folder: Path) -> None:
    set_params(folder, train__device="cpu", train__processes=2, ingest__max_length=50)
    onoma(folder, "seed")
    params = Params.load(folder / "params.yaml")
    assert (params.train.device, params.train.processes) == ("cpu", 2)
    assert params.ingest.max_length == 50


def test_flags_name_every_value_and_change_nothing(folder: Path) -> None:
    before = (folder / "params.yaml").read_text()
    words = onoma(folder, "fast", "--flags").split()
    assert words[::2] == ["-S"] * (len(words) // 2)
    yaml = YAML(typ="safe")
    found = {key: yaml.load(value) for key, value in (word.split("=") for word in words[1::2])}
    assert found == {f"{b}.{k}": v for b, values in load("fast").items() for k, v in values.items()}
    assert (folder / "params.yaml").read_text() == before


def test_an_impossible_value_is_refused_and_nothing_is_written(folder: Path) -> None:
    set_params(folder, model__cell="banana")
    before = (folder / "params.yaml").read_text()
    done = run(folder, "onoma", "recipe", "fast")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "params.yaml: model.cell: input should be 'gru', 'lstm' or 'rnn'" in done.stderr
    assert (folder / "params.yaml").read_text() == before


def test_an_unknown_recipe_is_wrong_usage(folder: Path) -> None:
    assert run(folder, "onoma", "recipe", "slow").returncode == 2
