"""The commands on the pages exist: subcommands, options, targets, files, keys of params.yaml."""

import argparse
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.commands.cli import COMMANDS
from tests.conftest import ROOT, succeed

PAGES = [*map(ROOT.joinpath, ("README.md", "CONTRIBUTING.md")), *sorted(ROOT.glob("docs/*.md"))]
PROGRAMS = ("onoma", "make", "python", "pytest", "dvc", "pip")
CODE = r"(?ms)^```(\w*)\n(.*?)^```$|((?:^    .+\n)+)|`([^`]+)`"


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command in code blocks and in code within sentences."""
    for found in re.finditer(CODE, page.read_text(encoding="utf-8")):
        language, block, indented, words = found.groups()
        if language in ("python", "mermaid"):
            continue
        inline = " ".join((words or "").split())
        for line in (block or indented or inline).replace("\\\n", " ").splitlines():
            text = re.sub(r" \[|\](?= |$)|^\s*\$ ", " ", line)  # brackets: what may be left out
            if not re.search(rf"\b({'|'.join(PROGRAMS)}) ", text):
                continue
            # Also what follows &&, a pipe, $(, a time of cron or the path of .venv.
            for part in re.split(r"&&|\||\$\(|\)| [<>]+ ?\S+|2>&1|\* ", text):
                try:
                    split = shlex.split(part, comments=True)
                except ValueError:  # prose
                    continue
                while split and re.fullmatch(r"\w+=\S+", split[0]):  # environment
                    del split[0]
                if len(split) > 1 and split[0].rpartition("/")[2] in PROGRAMS:
                    yield [split[0].rpartition("/")[2], *split[1:]]


ALL = {" ".join(words): words for page in PAGES for words in commands(page)}


def onoma(words: list[str]) -> None:
    assert words[0] in {*COMMANDS, "--version"}
    if len(words) > 1:  # else it is a mention, without what the command requires
        parser = argparse.ArgumentParser(exit_on_error=False)
        import_module(f"stages.commands.{words[0]}").add_arguments(parser)
        parser.parse_args(words[1:])


def make(words: list[str]) -> None:
    succeed(ROOT, "make", "--dry-run", *words)


def python(words: list[str]) -> None:
    spec = find_spec(words[1]) if words[0] == "-m" else None
    path = Path(spec.origin) if spec and spec.origin else ROOT / words[0]
    if path.name == "__init__.py":
        path = path.with_name("__main__.py")
    text = path.read_text(encoding="utf-8")
    for name in (word[2:] for word in words if word.startswith("--")):
        assert re.search(rf'"(--)?{name}"|\b{name}=', text), name


def pytest_(words: list[str]) -> None:
    assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))


def dvc(words: list[str]) -> None:
    from dvc.cli import parse_args

    if len(words) == 1:
        return
    args = parse_args(words)
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    for setting in getattr(args, "set_param", None) or []:
        block, key = setting.partition("=")[0].split(".")
        assert key in params[block]
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    if words[0] in ("repro", "exp"):
        assert set(getattr(args, "targets", None) or []) <= stages.keys()


def pip(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(re.findall(r"\[(\w+)\]", " ".join(words)))
    assert extras <= project["optional-dependencies"].keys()


CHECKS = {"onoma": onoma, "make": make, "python": python, "pytest": pytest_, "dvc": dvc, "pip": pip}


def test_the_pages_have_commands() -> None:
    programs = [words[0] for words in ALL.values()]
    assert min(programs.count(program) for program in CHECKS) >= 3


@pytest.mark.parametrize("words", ALL.values(), ids=ALL)
def test_what_a_command_on_a_page_names_is_there(words: list[str]) -> None:
    CHECKS[words[0]](words[1:])


def test_the_rows_of_reliability_name_tests_that_exist() -> None:
    """``tests/FILE.py -k "one or another"``, with or without the folder."""
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r'`(\S*test_\w+\.py)(?: -k ("[^"]+"|\w+))?`', page)
    assert len(rows) > 30
    for file, words in rows:
        found = [path for path in Path(ROOT, "tests").rglob("test_*.py") if path.match(file)]
        assert len(found) == 1, file
        names = " ".join(re.findall(r"(?m)^def test_\w+|^@pytest.*|id=\S+", found[0].read_text()))
        for word in re.findall(r"\w+", words.replace(" or ", " ")):
            assert word in names, (file, word)
