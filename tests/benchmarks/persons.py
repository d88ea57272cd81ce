"""How a model does on real people, by surname and by full name.

    python -m tests.benchmarks.persons data/onnx
    python -m tests.benchmarks.persons --svm [--words .5]  # the linear SVM of the stage baseline

Asks for the held-out persons of name2nat, read from its wheel (data/raw/build_names.py downloads
it; no full name of it is written), in the order in which the wheel has their names: Chinese, Korean
and Vietnamese ones begin with the surname. Then for the people of people.toml, given name first,
and for the 1,000 most frequent surnames of the ranked lists, as many of each country as it has,
without those that other countries' lists own; of these it also says how many prediction sets have
the country. A surname is unseen if no word of a training row is
spelled like it.
"""

import argparse
import csv
import gzip
import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

import onoma
from stages.core.params import Params
from stages.model.linear import linear_svm

RAW = Path(__file__).resolve().parents[2] / "data" / "raw"
sys.path.insert(0, str(RAW))

import build_names  # noqa: E402
import people_counts  # noqa: E402
from name_lists import download, table_of_lists  # noqa: E402
from name_rows import kept  # noqa: E402
from name_spelling import SOURCES, fold  # noqa: E402

# The first 34 countries have lists; those that joined them have people alone.
FIRST_34 = {country for country, lists in SOURCES["countries"].items() if lists}
Answer = Callable[[Sequence[str]], list[list[str]]]  # the three most probable countries of each


class Asked(NamedTuple):
    """A name and where it is from."""

    surname: str
    full_name: str
    country: str


def persons() -> list[Asked]:
    """Return the held-out persons of name2nat."""
    table = people_counts.load(download("name2nat"))
    asked = []
    for person in people_counts.held_out(people_counts.persons(table)):
        words = [person.given, person.surname]
        if person.nationality in people_counts.FAMILY_NAME_FIRST:
            words.reverse()
        country = people_counts.label_of(person.nationality)
        asked.append(Asked(person.surname, " ".join(words), country))
    return asked


def people() -> list[Asked]:
    """Return the people of people.toml."""
    known = [person for person in build_names.people() if person[2] in SOURCES["countries"]]
    return [Asked(last, f"{first} {last}".strip(), country) for first, last, country in known]


def frequent(total: int = 1000) -> list[Asked]:
    """Return the most frequent surnames of the countries that have a ranked list."""
    ranked = {
        country: [name for entry in entries for name in entry["names"].split(", ")]
        for country, entries in people_counts.FREQUENT.items()
    }
    for country, source, own in kept(table_of_lists()):
        ranked.setdefault(country, []).extend(own if source.ranked else ())
    ranked = {country: list(dict.fromkeys(names)) for country, names in ranked.items()}
    table = zip_longest(*([(name, c) for name in names] for c, names in ranked.items()))
    chosen = [entry for rank in table for entry in rank if entry][:total]
    return [Asked(name, name, country) for name, country in chosen]


def by_svm(train: list[tuple[str, str]], words: float) -> Answer:
    """Train the linear SVM of the stage baseline."""
    names, countries = zip(*train, strict=True)
    baseline = Params.load(Path("params.yaml")).baseline
    model = linear_svm(names, countries, **baseline.model_dump(), words=words)

    def answer(names: Sequence[str]) -> list[list[str]]:
        best = model.decision_function(list(names)).argsort(axis=1)[:, :-4:-1]
        return [[str(model.classes_[column]) for column in row] for row in best]

    return answer


def by_model(folder: Path) -> Answer:
    """Ask a bundle."""
    model = onoma.load(folder)

    def answer(names: Sequence[str]) -> list[list[str]]:
        return [[country for country, _ in found.top] for found in model.predict(names, top=3)]

    return answer


def main() -> None:
    """Print a table of top-1 and top-3."""
    parser = argparse.ArgumentParser(description="Score a model on real people.")
    parser.add_argument("model", type=Path, nargs="?", default=Path("data/onnx"))
    parser.add_argument("--svm", action="store_true", help="the linear SVM instead")
    parser.add_argument("--words", type=float, default=0.0, help="its weight of whole words")
    arguments = parser.parse_args()
    with gzip.open(RAW / "names_train.csv.gz", "rt", encoding="utf-8", newline="") as file:
        train = [(name, country) for name, country in csv.reader(file)]
    answer = by_svm(train, arguments.words) if arguments.svm else by_model(arguments.model)
    seen = {fold(word) for name, _ in set(train) for word in (name, *name.split(" "))}

    def show(what: str, asked: list[Asked], full: bool = False) -> None:
        answers = answer([a.full_name if full else a.surname for a in asked])
        right = [
            (found[0] == a.country, a.country in found)
            for found, a in zip(answers, asked, strict=True)
        ]
        top1, top3 = np.mean(right, axis=0)
        print(f"| {what} | {len(asked):,} | {top1:.3f} | {top3:.3f} |")

    print("| asked | names | top-1 | top-3 |\n|---|--:|--:|--:|")
    for who, everybody in (("persons", persons()), ("people", people())):
        first = [asked for asked in everybody if asked.country in FIRST_34]
        for which, some in (("34 countries", first), ("all", everybody)):
            show(f"{who}, {which}: surname", some)
            show(
                f"{who}, {which}: unseen surname", [a for a in some if fold(a.surname) not in seen]
            )
            show(f"{who}, {which}: full name", some, full=True)
        for country in sorted({asked.country for asked in everybody}):
            show(
                f"{who}, {country}: full name", [a for a in everybody if a.country == country], True
            )
    show("frequent surnames", frequent())
    if not arguments.svm:
        asked = frequent()
        found = onoma.load(arguments.model).predict([one.surname for one in asked])
        covered = np.mean([one.country in a.set for one, a in zip(asked, found, strict=True)])
        print(f"\nof the frequent surnames, sets with the country: {covered:.3f}")


if __name__ == "__main__":
    main()
