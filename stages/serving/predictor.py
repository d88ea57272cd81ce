"""What people call: names in, predictions, tables and shares out."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.serving import inputs
from stages.serving.engine import Engine
from stages.serving.inputs import Errors
from stages.serving.prediction import (
    AMBIGUOUS,
    KINDS,
    NO_REASON,
    REASONS,
    UNSURE,
    Occlusion,
    Prediction,
)

if TYPE_CHECKING:
    import pandas as pd


class Predictor(Engine):
    """Countries of names; `onoma.load` reads one from the files of a trained model.

    Names are a list, tuple, array, pandas Series or Index, or a generator of texts in any script.
    What is no usable name (None, NaN, another type, an empty or overlong text, one with control
    characters) is answered by the reason, with nothing else; by ``errors="raise"`` the first raises
    `Rejected`. A single text or a table for ``names`` raises `TypeError`.

    A model of surnames is asked each text as it is, or with ``full_names`` the surname in it. Any
    other model is asked the full name or the surname, whichever the text is, in the usual order
    and without titles. A predictor can be pickled: its files are read again.

    Attributes:
        countries: the countries, in the order of the columns; `classes_` is the same as an array.
        groups: neighbouring countries by the name of their group.
        reads: what the model may be asked: ``surnames``, ``full`` names or ``both``.
        population: what the training names are a sample of, in words.
        held_out: what the bundle keeps of held-out rows, if there were any.
        reload: the function that reads this predictor again, in another process.
    """

    reload: Callable[[], "Predictor"] | None = None

    def __reduce__(self) -> tuple[Callable[[], "Predictor"], tuple[()]]:
        """Pickle how to read the files, which hold all of it."""
        if self.reload is None:
            raise TypeError("only a predictor that onoma.load has read can be pickled")
        return self.reload, ()

    @property
    def classes_(self) -> NDArray[np.str_]:
        """The countries, in the order of the columns of `predict_proba`."""
        return np.array(self.countries)

    def predict(
        self,
        names: Iterable[Any],
        top: int = 3,
        abstain: float = 0.0,
        full_names: bool = False,
        *,
        given: Iterable[Any] | None = None,
        errors: Errors = "coerce",
    ) -> list[Prediction]:
        """The most probable country of each name.

        Args:
            names: the names.
            top: how many of the most probable countries to list, at least 1.
            abstain: answer `UNSURE` if the highest probability is below this, 0 to 1.
            full_names: ask a model of surnames for the surname in each name.
            given: given names, if ``names`` are surnames; missing or empty ones are allowed.
            errors: ``coerce`` or ``raise``: what unusable names do.

        Raises:
            Rejected: a name is unusable, and ``errors`` is ``raise``.
        """
        inputs.check(top, abstain)
        answers = self.ask(names, full_names, given, errors)
        order = np.argsort(-answers.probabilities, axis=1, kind="stable")
        sets = self.sets(answers)
        groups, group_probabilities = self.regions(answers.probabilities, answers.reasons)
        group_names, kinds = [*self.groups, None], KINDS[self.reads]
        predictions = []
        for row, name in enumerate(answers.names):
            if row in answers.rejected:
                predictions.append(Prediction.unusable(name, answers.rejected[row]))
                continue
            shares = answers.probabilities[row].tolist()
            ranked = [(self.countries[n], shares[n]) for n in order[row][:top].tolist()]
            country, probability = ranked[0]
            why = int(answers.reasons[row]) or (AMBIGUOUS if probability < abstain else NO_REASON)
            group = group_names[groups[row]]
            predictions.append(
                Prediction(
                    name=name,
                    country=UNSURE if why else country,
                    probability=probability,
                    reason=REASONS[why],
                    set=sets[row],
                    group=group,
                    group_probability=float(group_probabilities[row]) if group else None,
                    kind=kinds[answers.kinds[row]],
                    read_as=answers.read_as.get(row),
                    top=ranked,
                )
            )
        return predictions

    def predict_proba(
        self,
        names: Iterable[Any],
        full_names: bool = False,
        *,
        given: Iterable[Any] | None = None,
        errors: Errors = "coerce",
    ) -> NDArray[np.float32]:
        """Calibrated probabilities, (names, countries); each row sums to 1.

        The row of an unusable name is NaN. See `predict` for the arguments.
        """
        return self.ask(names, full_names, given, errors).probabilities

    def frame(
        self,
        names: "Iterable[Any] | pd.DataFrame",
        top: int = 3,
        abstain: float = 0.0,
        full_names: bool = False,
        *,
        surname: str | None = None,
        given: Any = None,
        errors: Errors = "coerce",
    ) -> "pd.DataFrame":
        """`predict` as a data frame, with the index of a Series or data frame of names.

        Its columns are the fields of `Prediction`; ``top`` becomes country_1, probability_1 and so
        on, and what an unusable name has no answer for is missing.

        Args:
            names: the names, or a data frame with them in the column ``surname``.
            top: see `predict`, as for the others.
            abstain: the threshold.
            full_names: whether to look for surnames.
            surname: the column with the names, of a data frame.
            given: the column with the given names, of a data frame; else the given names.
            errors: what unusable names do.
        """
        import pandas as pd  # slow to import, and needed only here

        index = names.index if isinstance(names, pd.Series | pd.DataFrame) else None
        if isinstance(names, pd.DataFrame):
            if surname is None:
                choice = ", ".join(map(str, names))
                raise TypeError(f"name the column: frame(table, surname=column), of {choice}")
            names, given = names[surname], None if given is None else names[given]
        answers = self.predict(names, top, abstain, full_names, given=given, errors=errors)
        fields = [field for field in Prediction._fields if field != "top"]
        columns = {field: [getattr(a, field) for a in answers] for field in fields}
        table = pd.DataFrame(columns, index)
        for rank in range(min(top, len(self.countries))):
            best = [a.top[rank] if a.top else (None, None) for a in answers]
            table[f"country_{rank + 1}"] = [country for country, _ in best]
            table[f"probability_{rank + 1}"] = [probability for _, probability in best]
        numbers = [name for name in table.columns if "probability" in name]
        return table.astype(dict.fromkeys(numbers, float))

    def shares(
        self,
        names: Iterable[Any],
        full_names: bool = False,
        *,
        given: Iterable[Any] | None = None,
    ) -> dict[str, Any]:
        """The shares of the countries in a population, estimated from its names.

        Args:
            names: the names of the whole population or of a random sample.
            full_names: see `predict`.
            given: see `predict`.

        Returns:
            What ``onoma shares --json`` writes: ``shares`` lists country, share, its 95 % interval
            (``lower``, ``upper``) and ``plain``, the mean probability, the largest share first;
            ``notes`` say when the estimate is doubtful.

        Raises:
            UserError: the model was trained without held-out rows.
        """
        from stages.serving.shares import Population  # imports SciPy

        answers = self.ask(names, full_names, given)
        population = Population(self.countries, self.held_out, seed=1)
        population.add(answers.probabilities, answers.reasons, answers.kinds)
        return {"model": self.model_hash, "population": self.population} | population.summary()

    def occlusion(self, name: str, full_names: bool = False) -> Occlusion:
        """Leave out each character in turn and compare the most probable country's probability.

        Raises:
            Rejected: the name is unusable.
        """
        name, _ = self._read(name, None, full_names)
        names = [name, *filter(None, (name[:n] + name[n + 1 :] for n in range(len(name))))]
        (whole, *parts), _ = self._compute(names, np.repeat(self._config.kinds([name]), len(names)))
        best = int(whole.argmax())
        if len(name) == 1:  # nothing is left of it: every country is equally probable
            parts = [np.full_like(whole, 1 / len(whole))]
        effects = np.array([whole[best] - part[best] for part in parts], dtype=np.float32)
        return Occlusion(name, self.countries[best], effects)
