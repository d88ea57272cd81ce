"""How bundles and linear SVMs do on real people, by surname and by full name.

    python -m tests.benchmarks.persons data/onnx
    python -m tests.benchmarks.persons data/model --svm 0 .5

Each number after ``--svm`` is an SVM as in the stage baseline, trained on data/clean, with whole
words of that weight. p is that of the first contestant against another, by the exact McNemar test.

All are asked for the people of data/raw/people.toml, and for the held-out persons of name2nat, read
from its wheel (data/raw/build_names.py downloads it; no full name of it is written) in the order of
its titles: Chinese, Korean and Vietnamese ones mostly begin with the surname. Then for the 1,000
most frequent surnames of the countries that have counts of citizens or residents, or a ranked list
(without those that other countries' lists own), as many of each country. Many are of several of
these countries (Hansen, Novak), any of which is right; each of them is to be in the prediction set.
"""

from collections.abc import Callable, Iterator
from itertools import chain, zip_longest
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
        if not person.full.startswith(person.given):
            words.reverse()
        country = people_counts.label_of(person.nationality)
        rows.append((person.surname, " ".join(words), country))
    return pd.DataFrame(rows, columns=["surname", "full_name", "country"])


def people() -> pd.DataFrame:
    """The same of the people of people.toml; a full name is empty without a given name."""
    file = RAW / "people/names_people.csv.gz"
    return read_people(file, SOURCES["countries"], "both", "nfc", 100)


def frequent(total: int = 1000) -> tuple[list[str], list[list[str]]]:
    """The most frequent surnames of the countries that rank or count them.

    Returns:
        names and, for each, the countries among whose most frequent surnames it is.
    """
    ranked: dict[str, list[str]] = {}
    for kind, counts in (("residents", residents), ("citizens", citizens)):
        for country in SOURCES[kind]:
            most = sorted(counts(country), key=lambda entry: -entry[1])
            ranked.setdefault(country, []).extend(name for name, _ in most)
    for country, source, own in kept(table_of_lists()):
        ranked.setdefault(country, []).extend(own if source.ranked else ())
    columns = [[(name, c) for name in dict.fromkeys(names)] for c, names in ranked.items()]
    chosen: dict[str, list[str]] = {}
    for name, country in filter(None, chain.from_iterable(zip_longest(*columns))):
        if name not in chosen and len(chosen) == total:
            break
        chosen.setdefault(name, []).append(country)
    return list(chosen), list(chosen.values())


def by_svm(words: float) -> Contestant:
    """Train the linear SVM of the stage baseline."""
    baseline = Params.load(Path("params.yaml")).baseline.model_dump()
    model = linear_svm(*clean("train"), **baseline, words=words)
    title = f"SVM, words {words:g}" if words else "SVM"
    return Contestant(title, list(model.classes_), lambda names: decision_table(model, names))


def questions() -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield what is asked, names, and the countries of each that are right."""
    for who, table in (("people", people()), ("persons", persons())):
        for column, title in (("surname", "surname"), ("full_name", "full name")):
            asked = table[table[column] != ""]
            yield f"{who}, {title}", asked[column].tolist(), [[c] for c in asked["country"]]
    yield "frequent surnames", *frequent()


def compare(
    contestants: list[Contestant], names: list[str], countries: list[list[str]]
) -> Iterator[str]:
    """Yield top-1, top-3 and, but of the first, p of each contestant."""
    rights: list[NDArray[np.bool_]] = []
    for contestant in contestants:
        index, scores = pd.Index(contestant.countries), contestant.score(names)
        right = (index.get_indexer(pd.Index(of_name)) for of_name in countries)
        # Of several right countries the one with the highest score counts.
        labels = np.array([r[row[r].argmax()] for r, row in zip(right, scores, strict=True)])
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
    rows = (
        (what, f"{len(names):,}", *compare(contestants, names, countries))
        for what, names, countries in questions()
    )
    print_table(header, rows)
    for title, model in models.items():
        names, listed = frequent()
        answers = zip(listed, model.predict(names), strict=True)
        covered = np.mean([c in answer.set for right, answer in answers for c in right])
        print(f"\n{title}: of the frequent surnames, sets with the country: {covered:.3f}")


if __name__ == "__main__":
    main()
