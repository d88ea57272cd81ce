"""What a model answers, and why it may be unsure."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.corpus.normalize import Rejected

UNSURE: Final = "unsure"  # the country of an answer that has a reason
REASONS: Final = (None, "script", "unfamiliar", "ambiguous", "not a surname")
NO_REASON, SCRIPT, UNFAMILIAR, AMBIGUOUS, NOT_A_SURNAME = range(len(REASONS))


class Prediction(NamedTuple):
    """The answer for one name.

    Attributes:
        name: the name as the caller wrote it.
        country: the most probable country, or `UNSURE`.
        probability: the probability of the most probable country, 0 to 1.
        reason: why the answer is `UNSURE`: ``script`` (no letter of a script met in training),
            ``unfamiliar`` (unlike the names of the training corpus), ``ambiguous`` (no country
            reaches the threshold) or ``not a surname``; None if it is not.
        set: the countries that contain the true one with 90 % probability, the most probable
            first; empty if the model was trained without held-out rows.
        top: the most probable countries and their probabilities, best first.
    """

    name: str
    country: str
    probability: float
    reason: str | None
    set: list[str]
    top: list[tuple[str, float]]

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON values; the countries of ``top`` are objects."""
        top = [{"country": country, "probability": share} for country, share in self.top]
        return {**self._asdict(), "top": top}


class Answers(NamedTuple):
    """Answers to many names as arrays.

    Attributes:
        probabilities: (names, countries), NaN for an unusable name.
        reasons: (names,) indices into `REASONS`, never `AMBIGUOUS`: that depends on a threshold.
        rejected: the row and reason of each unusable name.
        kinds: (names,) the kind of each name, as of `Config.kinds`.
    """

    probabilities: NDArray[np.float32]
    reasons: NDArray[np.uint8]
    rejected: dict[int, Rejected]
    kinds: NDArray[np.uint8]


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
