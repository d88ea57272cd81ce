"""What a model answers, and why it may be unsure."""

from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from stages.corpus import full_names

UNSURE: Final = "unsure"  # the country of an answer that has a reason
REASONS: Final = (
    *(None, "script", "unfamiliar", "ambiguous"),
    *(full_names.NOT_A_SURNAME, full_names.NOT_A_NAME),
)
NO_REASON, SCRIPT, UNFAMILIAR, AMBIGUOUS, NOT_A_SURNAME, NOT_A_NAME = range(len(REASONS))
KINDS: Final = {  # of names, by `Config.names`
    "surnames": ("surname",),
    "full": ("full name",),
    "both": ("surname", "full name"),
}


class Prediction(NamedTuple):
    """The answer for one name.

    Attributes:
        name: the name as the caller wrote it.
        country: the most probable country, or `UNSURE`; None if the name is unusable.
        probability: the probability of the most probable country, 0 to 1.
        reason: why the answer is `UNSURE`: ``script`` (no letter of a script met in training),
            ``unfamiliar`` (unlike the names of the training corpus), ``ambiguous`` (no country
            reaches the threshold), ``not a surname`` or ``not a name``; or why the name is
            unusable: ``missing name``, ``empty name`` and the like; else None.
        set: the countries that contain the true one with 90 % probability, the most probable
            first; empty if the model was trained without held-out rows.
        group: the group of the most probable country, if it is in one and the answer is not
            `UNSURE` for another reason than ``ambiguous``.
        group_probability: the sum of the probabilities of the group's countries.
        kind: ``surname`` or ``full name``, as the model takes the name.
        read_as: the name that the model answers, if the words differ from those of ``name``: of
            "Merkel, Dr. Angela" it is "Angela Merkel", or "Merkel" by a model of surnames.
        top: the most probable countries and their probabilities, best first.
    """

    name: Any
    country: str | None
    probability: float | None
    reason: str | None
    set: list[str]
    group: str | None
    group_probability: float | None
    kind: str | None
    read_as: str | None
    top: list[tuple[str, float]]

    @classmethod
    def unusable(cls, name: Any, reason: str) -> Self:
        """The answer for what is no name: nothing but the reason."""
        return cls(name, None, None, reason, [], None, None, None, None, [])

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON values; the countries of ``top`` are objects."""
        top = [{"country": country, "probability": share} for country, share in self.top]
        return {**self._asdict(), "top": top}


class Answers(NamedTuple):
    """Answers to many names as arrays.

    Attributes:
        probabilities: (names, countries), NaN for an unusable name.
        reasons: (names,) indices into `REASONS`, never `AMBIGUOUS`: that depends on a threshold.
        kinds: (names,) the kind of each name, as of `Config.kinds`.
        names: the names as the caller wrote them, given names first.
        rejected: the row and reason of each unusable name.
        read_as: the row and normalised text of each name that is answered in other words.
    """

    probabilities: NDArray[np.float32]
    reasons: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    names: list[Any]
    rejected: dict[int, str]
    read_as: dict[int, str]


class Occlusion(NamedTuple):
    """How much each character of a name contributes to its most probable country.

    Attributes:
        name: the name as normalised.
        country: the most probable country.
        effects: (characters,) drop of the country's probability when the character is left out;
            negative if it rises.
    """

    name: str
    country: str
    effects: NDArray[np.float32]
