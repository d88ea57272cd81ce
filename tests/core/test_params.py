from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.core.errors import UserError
from stages.core.params import Params
from tests.conftest import ROOT, set_params


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("train__epochs", "0", "train.epochs: input should be greater than or equal to 1"),
        ("train__epochs", "'3'", "train.epochs: input should be a valid integer"),
        ("train__device", "tpu", "train.device: string should match pattern"),
        ("train__learning_rate", ".nan", "train.learning_rate: input should be a finite number"),
        ("model__cell", "transformer", "model.cell: input should be 'gru', 'lstm' or 'rnn'"),
        ("model__dropout", "1.0", "model.dropout: input should be less than 1"),
        ("corpus__description", '"a\u202eb"', "corpus.description: should be printable text"),
        ("evaluate__ece_bins", "1000000000000", "evaluate.ece_bins: input should be less than or"),
        ("hello__hidden", "100000", "hello.hidden: input should be less than or equal to 1024"),
        ("model__hidden", "65536", "model.hidden: input should be less than or equal to 4096"),
        ("model__layers", "8", "model.layers: should be at most 3 with model.hidden 3000, for"),
        ("ingest__encoding", "utf-16", "ingest.encoding: should be an encoding that extends ASCII"),
        ("ingest__separator", '";;"', "ingest.separator: should be one ASCII symbol"),
        ("ingest__separator", "'\"'", "ingest.separator: should be one ASCII symbol"),
        ("ingest__separator", r'"\\x01"', "ingest.separator: should be one ASCII symbol"),
        ("hello__target", "ohlolo", "hello.target: should be as long as hello.input (5 charac"),
        ("corpus__set_levels", "{full: 0.9}", "corpus.set_levels: should have surname and full"),
        ("index__validation", "0.9", "index.validation: input should be less than or equal"),
    ],
)
def test_an_impossible_value_is_one_line_that_names_the_key(
    folder: Path, key: str, value: str, words: str
) -> None:
    set_params(folder, **{"model__hidden": "3000", key: value})
    assert f"params.yaml: {words}" in refusal()


def refusal(file: str = "params.yaml") -> str:
    """The one line that says why the parameters cannot be read."""
    with pytest.raises(UserError) as error:
        Params.load(Path(file))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_unknown_key_a_missing_one_and_a_missing_file_are_named(folder: Path) -> None:
    path = folder / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("  epochs:", "  epoch:"))
    assert "train.epochs: the key is missing" in refusal()
    path.write_text(text.replace("  epochs:", "  epoch: 3\n  epochs:"))
    assert "train.epoch: no such key" in refusal()
    assert "nowhere.yaml: No such file" in refusal("nowhere.yaml")


def test_what_a_message_quotes_keeps_its_case() -> None:
    values = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    with pytest.raises(UserError, match="instance of HelloParams, not 3"):
        Params.check(values | {"hello": 3}, ROOT)


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "a: 1\na: 2", "\0", "&a [*a]"])
def test_what_is_no_params_file_is_one_line(folder: Path, text: str) -> None:
    (folder / "params.yaml").write_text(text)
    assert refusal()


def test_every_key_has_a_comment_behind_or_above_it() -> None:
    above = ""
    for line in (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines():
        is_key = line.strip() and not line.lstrip().startswith("#") and not line.endswith(":")
        if is_key and " # " not in line:
            assert above == "commented", line
        elif line.lstrip().startswith("#"):
            above = "commented"  # and so are all keys until the next blank line or own comment
        else:
            above = ""
