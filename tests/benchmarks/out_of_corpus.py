"""How often names that are not of the corpus are "unfamiliar".

    python -m tests.benchmarks.out_of_corpus [--model data/onnx]

Run in a checkout with data/clean and data/onnx. Names of Yoruba and Sinhala origin are Faker's
(extra ``corpus``); lists of other far countries are below. The well-known people
(data/raw/people/names_people.csv.gz) are of countries of the corpus.
"""

import importlib
import random
import string
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from anyascii import anyascii

from stages.serving.bundle import load
from stages.serving.prediction import UNFAMILIAR
from tests.benchmarks.common import RAW, clean, options, print_table

POLYNESIAN = """Tuilagi Faleolo Fonua Tupou Kaahumanu Kamehameha Kealoha Kahananui Mahoe Leavasa
Tuiasosopo Polamalu Faumuina Malielegaoi Tamasese Mataafa Tuimalealiifano Havili Vunipola Moala
Fifita Taumalolo Piutau Naholo Ngata Parata Tamihana Kawharu Takerei Hoomanawanui Kapaakea
Leleiohoku Keohokalole Lunalilo Teriitaria Pomare Tetuanui Teihotaata Tuheiava"""
MALAGASY = """Rakotoarisoa Rabemananjara Razafindrakoto Andrianampoinimerina Ratsimandrava
Ravalomanana Rajaonarimampianina Andriamanjato Rasoanaivo Randrianarivelo Rakotomalala Razanamasy
Rafaralahy Ramaroson Ranaivosoa Andrianarisoa Ratsiraka Rabarison Rasolofonirina Razakamanantsoa
Randriamampionona Raharinirina Rakotonirina Ramanantsoa Rabetsitonta Andriantsitohaina
Razafimahefa Rasamimanana Ratovonarivo Rajoelina"""
NAHUATL = """Xochitl Cuauhtemoc Tlacaelel Nezahualcoyotl Tecuapetla Xicohtencatl Tlatelpa Cuautle
Tepoztecatl Xilotl Coyotl Tecuanhuey Tlaxcalteca Mixcoatl Ehecatl Quetzalcoatl Tlapale
Zempoaltecatl Cuamatzi Xolocotzi Tecpanecatl Ahuatzi Papalotzi Tlilayatzi Xahuentitla Cocoletzi
Tzompantzi Coyotzi Quechol Nahuatlato"""
KEYBOARD = """asdfgh qwerty zxcvbn qwertyuiop asdfghjkl sdfghj dfghjk fghjkl wertyu ertyui rtyuio
tyuiop xcvbnm asdf jkl qazwsx wsxedc edcrfv rfvtgb tgbyhn yhnujm qweasd asdqwe zxcasd lkjhgf"""


def faker(locale: str) -> list[str]:
    provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
    return list(provider.last_names)


def names_by_kind() -> Iterator[tuple[str, list[str]]]:
    """Yield what the names are, and the names; those from elsewhere are not in the corpus."""
    test = clean("test")[0]
    people = pd.read_csv(RAW / "people/names_people.csv.gz", keep_default_na=False)
    yield "test names", test
    yield "well-known people", people["surname"].tolist()
    choose, letters = random.Random(1), string.ascii_lowercase
    gibberish = ["".join(choose.choices(letters, k=choose.randint(4, 10))) for _ in range(1000)]
    elsewhere = {
        "random letters": gibberish,
        "keyboard runs": KEYBOARD.split(),
        "Polynesian": POLYNESIAN.split(),
        "Malagasy": MALAGASY.split(),
        "Nahuatl": NAHUATL.split(),
        "Yoruba": faker("yo_NG"),
        "Sinhala": [anyascii(name) for name in faker("si_LK")],
    }
    corpus = {*test, *clean("train")[0]}
    for kind, names in elsewhere.items():
        yield kind, [name for name in names if name.title() not in corpus]


def main() -> None:
    model = load(options(__doc__, model=Path("data/onnx")).parse_args().model)

    def row(kind: str, names: list[str]) -> list[str]:
        return [kind, f"{len(names):,}", f"{(model.ask(names).reasons == UNFAMILIAR).mean():.3f}"]

    print_table(("names", "number", "unfamiliar"), (row(*kind) for kind in names_by_kind()))


if __name__ == "__main__":
    main()
