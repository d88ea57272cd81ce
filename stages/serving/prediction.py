"""What a model answers, and why it may be unsure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from stages.core.text import UNSURE
from stages.corpus.full_names import NOT_A_NAME, NOT_A_SURNAME
from stages.serving.config import KINDS, Config
from stages.serving.held_out import Floats, Integers, prediction_sets, reweight

REASONS: Final = (None, "script", "unfamiliar", "ambiguous", NOT_A_SURNAME, NOT_A_NAME)
NO_REASON, SCRIPT, UNFAMILIAR, AMBIGUOUS = range(4)
KIND_WORDS: Final = {"surname": "surname", "full": "full name"}


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
    def of_columns(cls, columns: Mapping[str, list[Any]]) -> list[Self]:
        """The answers whose fields are `Answers.columns`."""
        answers = []
        for row in zip(*columns.values(), strict=True):
            fields, ranked = row[: len(cls._fields) - 1], row[len(cls._fields) - 1 :]
            best = zip(ranked[::2], ranked[1::2], strict=True)
            answers.append(cls._make([*fields, [pair for pair in best if pair[0] is not None]]))
        return answers

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON values; the countries of ``top`` are objects."""
        top = [{"country": country, "probability": share} for country, share in self.top]
        return {**self._asdict(), "top": top}


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


@dataclass(frozen=True)
class Answers:
    """What a model answers.

    Attributes:
        config: the config of the model.
        probabilities: (names, countries), NaN for an unusable name.
        reasons: (names,) indices into `REASONS`, never `AMBIGUOUS`: that depends on a threshold.
        kinds: (names,) the kind of each name, as of `Config.kinds`.
        names: (names,) the names as the caller wrote them, given names first.
        rejected: (names,) why a name is unusable, else None.
        read_as: (names,) the normalised text that is answered, if its words are others, else None.
    """

    config: Config
    probabilities: NDArray[np.float32]
    reasons: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    names: NDArray[np.object_]
    rejected: NDArray[np.object_]
    read_as: NDArray[np.object_]

    def take(self, rows: Integers) -> "Answers":
        """The answers to some of the names."""
        _, *arrays = vars(self).values()
        return Answers(self.config, *(values[rows] for values in arrays))

    def put(self, row: int, other: "Answers", most: int) -> "Answers":
        """These answers with others of the same model from a row on, written in place if they fit.

        Args:
            row: the first row that the others take.
            other: the others.
            most: the number of rows up to which full arrays are doubled, so that few are copied.
        """
        (_, *arrays), (_, *others) = vars(self).values(), vars(other).values()
        end = row + len(other.kinds)
        if end > len(self.kinds):
            size = max(end, min(2 * end, most))
            arrays = [np.resize(values, (size, *values.shape[1:])) for values in arrays]
        for values, new in zip(arrays, others, strict=True):
            values[row:end] = new
        return Answers(self.config, *arrays)

    def sets(self) -> list[list[str]]:
        """The prediction set of each name, the most probable country first.

        Empty for an unusable name, and for all without held-out rows.
        """
        if self.config.held_out is None:
            return [[] for _ in self.reasons]
        thresholds = self.config.held_out.thresholds[self.kinds]
        is_inside = prediction_sets(self.probabilities, thresholds)
        rows, countries = np.nonzero(is_inside)
        order = np.lexsort((-self.probabilities[rows, countries], rows))
        labels = np.array(self.config.countries, dtype=object)[countries[order]].tolist()
        ends = is_inside.sum(axis=1).cumsum().tolist()
        return [labels[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    def columns(
        self, top: int, abstain: float, shares: Floats | None = None
    ) -> dict[str, list[Any]]:
        """The fields of `Prediction`; ``top`` becomes country_1, probability_1 and so on.

        What is not known is None.

        Args:
            top: number of countries to list.
            abstain: probability below which the country is `UNSURE`.
            shares: (countries,) shares of a population, to reweight the probabilities.
        """
        config, table = self.config, self.probabilities
        if shares is not None and config.held_out:
            table = reweight(table, config.held_out.prior[self.kinds], shares).astype(np.float32)
        order = np.argsort(-table, axis=1, kind="stable")[:, :top]
        ranked = np.take_along_axis(table, order, axis=1)
        is_usable = ~np.isnan(ranked[:, 0])
        reasons = np.where(ranked[:, 0] < abstain, AMBIGUOUS, NO_REASON)
        reasons = np.where(self.reasons > 0, self.reasons, reasons)

        def pick(choices: Iterable[Any], index: Integers) -> list[Any]:
            known = np.where(is_usable, index.astype(np.intp), -1)
            return list(np.array([*choices, None], dtype=object)[known])

        def numbers(values: Floats) -> list[float | None]:
            return [None if math.isnan(value) else value for value in values.tolist()]

        # Of the most probable country, unless nothing is said about countries.
        numbers_of_groups = enumerate(config.groups.values())
        number_of = {country: n for n, members in numbers_of_groups for country in members}
        group_of = np.array([number_of.get(country, -1) for country in config.countries])
        groups = np.where(is_usable & (self.reasons == 0), group_of[order[:, 0]], -1)
        sums = np.where(group_of == groups[:, None], table, 0).sum(axis=1)
        columns = {
            "name": list(self.names),
            "country": pick(
                [*config.countries, UNSURE],
                np.where(reasons > 0, len(config.countries), order[:, 0]),
            ),
            "probability": numbers(ranked[:, 0]),
            "reason": list(np.where(is_usable, pick(REASONS, reasons), self.rejected)),
            "set": self.sets(),
            "group": pick(config.groups, groups),
            "group_probability": numbers(np.where(groups < 0, np.nan, sums)),
            "kind": pick(map(KIND_WORDS.get, KINDS[config.names]), self.kinds),
            "read_as": list(self.read_as),
        }
        for n in range(order.shape[1]):
            columns[f"country_{n + 1}"] = pick(config.countries, order[:, n])
            columns[f"probability_{n + 1}"] = numbers(ranked[:, n])
        return columns
