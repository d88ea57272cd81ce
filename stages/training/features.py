"""Which n-grams and words the linear term has weights for: those that training names have most."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from stages.corpus.dataset import Names
from stages.model.wide import RARE_COUNTRIES, SHORT, Wide, real_codes
from stages.training.batches import batches_by_length, collate

NAMES = 2**15  # whose features are counted at once


def choose_features(wide: Wide, names: Names) -> None:
    """Set the features of the linear term, from the training names.

    The most frequent ones get weights for all countries, the next ones, but for short n-grams, for
    the countries whose names most often have them. Of two that are as frequent, the lower hash
    comes first.
    """
    counts, short = count_features(wide, names)
    totals = counts.groupby("feature")["count"].sum().sort_values(ascending=False, kind="stable")
    ranked, most = totals.index.to_numpy(), len(wide.frequent_keys)
    long = ranked[most:][~np.isin(ranked[most:], short)]
    frequent, rare = np.sort(ranked[:most]), np.sort(long[: len(wide.rare_keys)])
    for keys, features in ((wide.frequent_keys, frequent), (wide.rare_keys, rare)):
        keys[: len(features)] = torch.from_numpy(features)
    by_count = counts.sort_values("count", ascending=False, kind="stable").groupby("feature")
    for rank in range(RARE_COUNTRIES):
        countries = by_count.nth(rank).set_index("feature")["country"]
        chosen = countries.reindex(rare, fill_value=wide.countries).to_numpy(np.int32)
        wide.rare_countries[: len(rare), rank] = torch.from_numpy(chosen)


def count_features(wide: Wide, names: Names) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """How often the names of each country have each feature.

    Returns:
        ``feature``, its hash, ``country`` and ``count``, ordered by the first two; and the hashes
        of n-grams of at most `SHORT` characters.
    """
    pairs, counts, short = (np.empty(0, np.int64) for _ in range(3))
    for rows in batches_by_length(names, NAMES):
        batch = collate(names, rows, torch.device("cpu"))
        real = real_codes(batch.codes, batch.lengths)
        hashes, _, counted = wide.features(batch.codes, batch.codes, real)
        new = (hashes * wide.countries + batch.labels[:, None, None])[counted].numpy()
        weights = np.concatenate([counts, np.ones_like(new)])
        pairs, positions = np.unique(np.concatenate([pairs, new]), return_inverse=True)
        counts = np.bincount(positions, weights).astype(np.int64)
        short = np.union1d(short, hashes[:, :, :SHORT][counted[:, :, :SHORT]].numpy())
    features, countries = np.divmod(pairs, wide.countries)
    return pd.DataFrame({"feature": features, "country": countries, "count": counts}), short
