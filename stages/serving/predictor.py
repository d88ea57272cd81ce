"""What people call: names in, predictions, tables and shares out."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.corpus.full_names import is_usual
from stages.corpus.normalize import Rejected, normalise
from stages.serving import inputs
from stages.serving.config import Config
from stages.serving.engine import Engine, Logits
from stages.serving.inputs import Errors
from stages.serving.prediction import Answers, Occlusion, Prediction

if TYPE_CHECKING:
    import pandas as pd


class Predictor:
    """Countries of names; `onoma.load` reads one from the files of a trained model.

    Names are a list, tuple, array, pandas Series or Index, or a generator of texts in any script.
    What is no usable name (None, NaN, another type, an empty or overlong text, one with control
    characters) is answered by the reason, with nothing else; by ``errors="raise"`` the first raises
    `Rejected`. A single text or a table for ``names`` raises `TypeError`.

    A model of surnames is asked each text as it is, or with ``full_names`` the surname in it. Any
    other model is asked the full name or the surname, whichever the text is, in the usual order
    and without titles. A predictor can be pickled: its files are read again.

    Attributes:
        config: everything about the model but its weights.
        countries: the countries, in the order of the columns; `classes_` is the same as an array.
        groups: neighbouring countries by the name of their group.
        reads: what the model may be asked: ``surnames``, ``full`` names or ``both``.
        population: what the training names are a sample of, in words.
        held_out: what the bundle keeps of held-out rows, if there were any.
        reload: the function that reads this predictor again, in another process.
    """

    reload: Callable[[], "Predictor"] | None = None

    def __init__(
        self, logits: Logits, config: Config, threads: int = 1, files: Sequence[Path] = ()
    ) -> None:
        """Make a predictor.

        Args:
            logits: the function that computes a batch.
            config: everything about the model but its weights.
            threads: batches computed at a time.
            files: the files of the bundle, for `model_hash`; the weights are the last.
        """
        self.config, self._files = config, files
        self.countries, self.population = config.countries, config.population
        self.held_out, self.groups, self.reads = config.held_out, config.groups, config.names
        self._compute = Engine(logits, config, threads, files[-1] if files else "the model")

    def __reduce__(self) -> tuple[Callable[[], "Predictor"], tuple[()]]:
        """Pickle how to read the files, which hold all of it."""
        if self.reload is None:
            raise TypeError("only a predictor that onoma.load has read can be pickled")
        return self.reload, ()

    @cached_property
    def model_hash(self) -> str:
        """Hash of the bundle: 12 hexadecimal digits of SHA-256."""
        digest = hashlib.sha256()
        for path in self._files:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

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
        return Prediction.of_columns(answers.columns(top, abstain))

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
        inputs.check(top, abstain)
        columns = self.ask(names, full_names, given, errors).columns(top, abstain)
        numbers = [name for name in columns if "probability" in name]
        return pd.DataFrame(columns, index).astype(dict.fromkeys(numbers, float))

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
        kinds = np.repeat(self.config.kinds([name]), len(names))
        (complete, *shortened), _ = self._compute(names, kinds)
        best = int(complete.argmax())
        if len(name) == 1:  # nothing is left of it: every country is equally probable
            shortened = [np.full_like(complete, 1 / len(complete))]
        effects = np.array([complete[best] - each[best] for each in shortened], dtype=np.float32)
        return Occlusion(name, self.countries[best], effects)

    def ask(
        self,
        names: Iterable[Any],
        full_names: bool = False,
        given: Iterable[Any] | None = None,
        errors: Errors = "coerce",
    ) -> Answers:
        """Answers as arrays; each distinct name is computed once. See `predict`."""
        names = inputs.as_list(names, errors)
        given_names = [None] * len(names) if given is None else inputs.as_list(given, errors)
        if len(given_names) != len(names):
            raise ValueError(f"{len(names)} names, but {len(given_names)} given names")
        read: dict[int, str] = {}
        rejected, read_as = np.full((2, len(names)), None, dtype=object)
        for row, (name, given_name) in enumerate(zip(names, given_names, strict=True)):
            try:
                read[row], read_as[row] = self._read(name, given_name, full_names)
            except Rejected as reason:
                if errors == "raise":
                    raise Rejected(f"name {row + 1}: {reason}") from None
                rejected[row] = str(reason)
        probabilities = np.full((len(names), len(self.countries)), np.nan, dtype=np.float32)
        reasons, kinds = np.zeros((2, len(names)), dtype=np.uint8)
        if read:
            # In order: the graph reads the beginnings that neighbours share once.
            distinct = {name: n for n, name in enumerate(sorted(set(read.values())))}
            rows, numbers = list(read), [distinct[name] for name in read.values()]
            own_kinds = self.config.kinds(list(distinct))
            own_probabilities, own_reasons = self._compute(list(distinct), own_kinds)
            probabilities[rows], reasons[rows] = own_probabilities[numbers], own_reasons[numbers]
            kinds[rows] = own_kinds[numbers]
        texts = np.fromiter(map(inputs.joined, names, given_names), object, len(names))
        return Answers(self.config, probabilities, reasons, kinds, texts, rejected, read_as)

    def _read(self, name: Any, given: Any, full_names: bool) -> tuple[str, str | None]:
        """The normalised text that the model is asked, and again if its words are others.

        Raises:
            Rejected: it is unusable.
        """
        config = self.config
        form = config.normalize, config.max_length
        takes_all = given is None and (config.reads_full_names or not full_names)
        if takes_all and isinstance(name, str) and is_usual(name, *form):
            return name, None
        text = inputs.read(name, given, config.reads_full_names, full_names)
        normalised, written = normalise(text, *form), inputs.joined(name, given)
        if text == written:
            return normalised, None
        try:
            return normalised, normalised if normalised != normalise(written, *form) else None
        except Rejected:
            return normalised, normalised
