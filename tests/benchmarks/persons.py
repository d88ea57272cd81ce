"""How bundles and linear SVMs do on real people, by surname and by full name.

    python -m tests.benchmarks.persons data/onnx
    python -m tests.benchmarks.persons data/model --svm 0 .5

Each number after ``--svm`` is an SVM as in the stage baseline, trained on data/clean, with whole
words of that weight. p is that of the first contestant against another, by the exact McNemar test.

All are asked for the people of data/raw/people.toml, and for the held-out persons of name2nat, read
from its wheel (data/raw/build_names.py downloads it; no full name of it is written) in the order of
its names: Chinese, Korean and Vietnamese ones begin with the surname. Then for the 1,000 most
frequent surnames of the countries that have counts of citizens or residents, or a ranked list
(without those that other countries' lists own), as many of each country as it has; of these it also
says how many prediction sets have the country.
"""

from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import onoma
from stages.core.params import Params
from stages.corpus.people import read_people
from stages.model.linear import decision_table, linear_svm
from stages.model.metrics import top_accuracy
from tests.benchmarks.common import RAW, clean, mcnemar, options, print_table

import people_counts  # isort: skip  # data/raw
from name_lists import download, table_of_lists  # isort: skip
from name_rows import kept  # isort: skip
from name_spelling import SOURCES  # isort: skip
from surname_counts import citizens, residents  # isort: skip


class Contestant(NamedTuple):
    """A model; ``score`` gives (names, countries), the highest for the most probable country."""

    title: str
    countries: list[str]
    score: Callable[[list[str]], NDArray[np.floating]]


def persons() -> pd.DataFrame:
    """``surname``, ``full_name`` and ``country`` of the held-out persons of name2nat."""
    table = people_counts.load(download("name2nat"))
    rows = []
    for person in people_counts.held_out(people_counts.persons(table)):
        words = [person.given, person.surname]
        if person.nationality in people_counts.FAMILY_NAME_FIRST:
            words.reverse()
        country = people_counts.label_of(person.nationality)
        rows.append((person.surname, " ".join(words), country))
    return pd.DataFrame(rows, columns=["surname", "full_name", "country"])


def people() -> pd.DataFrame:
    """The same of the people of people.toml; a full name is empty without a given name."""
    file = RAW / "people/names_people.csv.gz"
    return read_people(file, SOURCES["countries"], "both", "nfc", 100)


def frequent(total: int = 1000) -> tuple[list[str], list[str]]:
    """The most frequent surnames of the countries that rank or count them, and the countries."""
    ranked: dict[str, list[str]] = {}
    for kind, counts in (("residents", residents), ("citizens", citizens)):
        for country in SOURCES[kind]:
            most = sorted(counts(country), key=lambda entry: -entry[1])
            ranked.setdefault(country, []).extend(name for name, _ in most)
    for country, source, own in kept(table_of_lists()):
        ranked.setdefault(country, []).extend(own if source.ranked else ())
    ranked = {country: list(dict.fromkeys(names)) for country, names in ranked.items()}
    table = zip_longest(*([(name, c) for name in names] for c, names in ranked.items()))
    chosen = pd.DataFrame([entry for rank in table for entry in rank if entry][:total])
    return chosen[0].tolist(), chosen[1].tolist()


def by_svm(words: float) -> Contestant:
    """Train the linear SVM of the stage baseline."""
    baseline = Params.load(Path("params.yaml")).baseline.model_dump()
    model = linear_svm(*clean("train"), **baseline, words=words)
    title = f"SVM, words {words:g}" if words else "SVM"
    return Contestant(title, list(model.classes_), lambda names: decision_table(model, names))


def questions() -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield what is asked, names, and their countries."""
    for who, table in (("people", people()), ("persons", persons())):
        for column, title in (("surname", "surname"), ("full_name", "full name")):
            asked = table[table[column] != ""]
            yield f"{who}, {title}", asked[column].tolist(), asked["country"].tolist()
    yield "frequent surnames", *frequent()


def compare(contestants: list[Contestant], names: list[str], countries: list[str]) -> Iterator[str]:
    """Yield top-1, top-3 and, but of the first, p of each contestant."""
    rights: list[NDArray[np.bool_]] = []
    for contestant in contestants:
        labels = pd.Index(contestant.countries).get_indexer(pd.Index(countries))
        scores = contestant.score(names)
        rights.append(scores.argmax(axis=1) == labels)
        yield f"{rights[-1].mean():.4f}"
        yield f"{top_accuracy(scores, labels, 3):.3f}"
        if len(rights) > 1:
            yield f"{mcnemar(rights[0], rights[-1]):.2g}"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("models", type=Path, nargs="*", metavar="model")
    parser.add_argument("--svm", type=float, nargs="+", default=[], help="weights of whole words")
    args = parser.parse_args()
    models = {str(folder): onoma.load(folder) for folder in args.models}
    contestants = [
        *(Contestant(title, m.countries, m.predict_proba) for title, m in models.items()),
        *map(by_svm, args.svm),
    ]
    header = ["asked", "names"]
    for number, contestant in enumerate(contestants):
        header += [contestant.title, "top-3", "p"][: 3 if number else 2]
    rows = ((what, f"{len(q[0]):,}", *compare(contestants, *q)) for what, *q in questions())
    print_table(header, rows)
    for title, model in models.items():
        names, countries = frequent()
        answers = zip(countries, model.predict(names), strict=True)
        covered = np.mean([country in answer.set for country, answer in answers])
        print(f"\n{title}: of the frequent surnames, sets with the country: {covered:.3f}")


if __name__ == "__main__":
    main()
