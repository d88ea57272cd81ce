"""What config.json of a bundle may say, whichever kind it is: for bundles from strangers.

Nothing here imports torch or pydantic: an exported model answers without them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from stages.core.text import LONGEST, is_label, is_text
from stages.corpus.normalize import script
from stages.serving.held_out import MOST_ROWS, HeldOut

MAX_CONFIG_BYTES: Final = 64 * 2**20
COUNTRIES = 65535  # labels are stored in 16 bits
LOWEST, HIGHEST = 0.01, 100.0  # temperature; calibration looks for one from 0.05 to 20


def _are_texts(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and all(map(is_text, value))
        and len(set(value)) == len(value)
    )


def _is_vocabulary(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"case", "scripts", "characters"}
        and value["case"] in ("keep", "fold")
        and _are_texts(value["scripts"])
        # Any character of a name; they are looked up, never printed.
        and isinstance(value["characters"], str)
        and len(set(value["characters"])) == len(value["characters"])
        and {script(c) for c in value["characters"] if c.isalpha()} <= set(value["scripts"])
    )


def _are_countries(value: Any) -> bool:
    return _are_texts(value) and 1 <= len(value) <= COUNTRIES and all(map(is_label, value))


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "vocabulary": (
        _is_vocabulary,
        "case, scripts and characters of these scripts, none of them twice",
    ),
    "countries": (
        _are_countries,
        f"1 to {COUNTRIES} different printable texts of at most {LONGEST} characters, "
        "none of which begins as a spreadsheet's formula",
    ),
    "normalize": (lambda value: value in ("nfc", "ascii"), "nfc or ascii"),
    "max_length": (lambda value: type(value) is int and 1 <= value <= 1000, "from 1 to 1000"),
    "temperature": (
        lambda value: type(value) is float and LOWEST <= value <= HIGHEST,
        f"a number from {LOWEST} to {HIGHEST}",
    ),
    "population": (is_text, f"printable text of at most {LONGEST} characters"),
    "held_out": (
        lambda value: (
            value is None
            or (isinstance(value, dict) and all(isinstance(text, str) for text in value.values()))
        ),
        "null or arrays in base64",
    ),
}
FACTS = _RULES.keys()


def check(config: Mapping[str, Any]) -> None:
    """Raise `ValueError` if one of `FACTS` has a value that is not allowed."""
    for key, (allowed, what) in _RULES.items():
        if not allowed(config[key]):
            raise ValueError(f"{key} must be {what}")
    if config["held_out"]:
        found = HeldOut.from_config(config["held_out"], len(config["countries"]))
        if not (
            len(found.labels) <= MOST_ROWS
            and abs(found.prior.sum() - 1) < 1e-6
            and (found.thresholds <= 1).all()
        ):
            raise ValueError("the numbers of held_out are out of range")
