"""How often names that are not of the corpus get the answer "unsure", and why.

    python tests/benchmarks/out_of_corpus.py [--model data/onnx]

Run in a checkout with data/clean and data/onnx. Names in other scripts and of Yoruba and Sinhala
origin are Faker's (extra ``corpus``); lists of other far countries are below. The well-known
people (data/raw/people/names_people.csv.gz) are of countries of the corpus.
"""

import argparse
import importlib
import random
import string
from pathlib import Path

import numpy as np
import pandas as pd
from anyascii import anyascii

from stages.serving.bundle import load
from stages.serving.prediction import NOT_A_NAME, NOT_A_SURNAME, SCRIPT, UNFAMILIAR

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
SCRIPTS = {
    "Hebrew": "he_IL",
    "Thai": "th_TH",
    "Devanagari": "hi_IN",
    "Bengali": "bn_BD",
    "Tamil": "ta_IN",
    "Odia": "or_IN",
    "Sinhala": "si_LK",
}


def faker(locale: str) -> list[str]:
    provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
    return list(provider.last_names)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--model", type=Path, default=Path("data/onnx"))
    model = load(options.parse_args().model)
    test = pd.read_parquet("data/clean/test.parquet")["name"].tolist()
    people = pd.read_csv("data/raw/people/names_people.csv.gz", keep_default_na=False)["surname"]
    choose = random.Random(1)
    gibberish = [
        "".join(choose.choices(string.ascii_lowercase, k=choose.randint(4, 10)))
        for _ in range(1000)
    ]
    sets = {
        "test names": test,
        "well-known people": people.tolist(),
        "random letters": gibberish,
        "keyboard runs": KEYBOARD.split(),
        "Polynesian": POLYNESIAN.split(),
        "Malagasy": MALAGASY.split(),
        "Nahuatl": NAHUATL.split(),
        "Yoruba": faker("yo_NG"),
        "Sinhala": [anyascii(name) for name in faker("si_LK")],
        **{f"{script} script": faker(locale) for script, locale in SCRIPTS.items()},
    }
    corpus = {*test, *pd.read_parquet("data/clean/train.parquet")["name"]}
    print("| names | number | script | unfamiliar | not a name |\n|---|---:|---:|---:|---:|")
    for title, names in sets.items():
        if title not in ("test names", "well-known people"):
            names = [name for name in names if name.title() not in corpus]
        reasons = model.ask(names).reasons
        columns = ([SCRIPT], [UNFAMILIAR], [NOT_A_SURNAME, NOT_A_NAME])
        shares = (f"{np.isin(reasons, column).mean():.3f}" for column in columns)
        print(f"| {title} | {len(names):,} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
