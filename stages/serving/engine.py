"""Normalised names -> probabilities and reasons, whatever computes the logits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.corpus.full_names import unusable
from stages.serving.config import Config
from stages.serving.held_out import Integers, Letters
from stages.serving.prediction import REASONS, SCRIPT, UNFAMILIAR

BATCH_CODES = 2**12  # of a batch: large enough for the products, small enough for the caches

Logits = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""(batch, length) codes of names of one length, with BOS and EOS -> (batch, countries)."""


class Engine:
    """A model as a function of normalised names."""

    def __init__(self, logits: Logits, config: Config, threads: int, weights: str | Path) -> None:
        """Make an engine.

        Args:
            logits: the function that computes a batch.
            config: everything about the model but its weights.
            threads: batches computed at a time.
            weights: the file to blame if answers are no numbers.
        """
        self._logits, self._config, self._threads, self._weights = logits, config, threads, weights
        ngrams = config.held_out.ngrams if config.held_out else None
        self._letters = Letters(config.vocabulary, ngrams)

    def __call__(
        self, names: list[str], kinds: Integers
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """(names, countries) probabilities and (names,) reasons of names of these kinds.

        Raises:
            UserError: a logit is no number.
        """
        config = self._config
        codes, offsets = config.vocabulary.encode(names)
        logits = self._compute(codes, offsets)
        with np.errstate(over="ignore"):
            scaled = logits / np.array(config.temperatures, dtype=np.float32)[kinds, None]
        if not np.isfinite(scaled).all():
            raise UserError(f"{self._weights}: its answers are no numbers; the weights are damaged")
        reasons = np.zeros(len(names), dtype=np.uint8)
        scripts = self._letters.scripts(codes, offsets)
        if config.held_out:
            highest = logits.max(axis=1)
            energy = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
            measures = np.stack([self._letters.known(codes, offsets), energy], axis=1)
            reasons[config.held_out.unfamiliar(scripts, measures)] = UNFAMILIAR
        reasons[scripts < 0] = SCRIPT
        for row, name in enumerate(names):
            if reason := unusable(name, config.reads_full_names):
                reasons[row] = REASONS.index(reason)
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True), reasons

    def _compute(self, codes: Integers, offsets: Integers) -> NDArray[np.float32]:
        """(names, countries) logits, by batches of names of one length."""
        lengths = np.diff(offsets)
        logits = np.empty((len(lengths), len(self._config.countries)), dtype=np.float32)
        batches: list[NDArray[np.intp]] = []
        for length in np.unique(lengths).tolist():
            rows, size = np.flatnonzero(lengths == length), max(1, BATCH_CODES // length)
            batches += [rows[n : n + size] for n in range(0, len(rows), size)]

        def compute(rows: NDArray[np.intp]) -> None:
            positions = offsets[rows][:, None] + np.arange(lengths[rows[0]])
            logits[rows] = self._logits(codes[positions].astype(np.int64))

        if self._threads > 1 and len(batches) > 1:
            from concurrent.futures import ThreadPoolExecutor  # too slow to import for a few names

            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(compute, batches))
        else:
            for rows in batches:
                compute(rows)
        return logits
