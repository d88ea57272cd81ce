"""Which n-grams and words the linear term has weights for: those that training names have most."""

import numpy as np
import pandas as pd
import torch

from stages.corpus.dataset import Names
from stages.model.wide import RARE_COUNTRIES, SHORT, Wide, real_codes
from stages.training.batches import batches_by_length, collate

BLOCK = 2**15  # names whose features are counted at once


def choose_features(wide: Wide, names: Names) -> None:
    """Set the features of the linear term, from the training names.

    The most frequent ones get weights for all countries, the next ones, but for short n-grams, for
    the countries whose names most often have them. Of two that are as frequent, the lower hash
    comes first.
    """
    counts, most = count_features(wide, names), len(wide.frequent_keys)
    ranked = counts.groupby("feature").agg({"count": "sum", "is_short": "any"})
    ranked = ranked.sort_values("count", ascending=False, kind="stable")
    long = ranked[most:].query("not is_short")
    frequent, rare = np.sort(ranked.index[:most]), np.sort(long.index[: len(wide.rare_keys)])
    for keys, features in ((wide.frequent_keys, frequent), (wide.rare_keys, rare)):
        keys[: len(features)] = torch.from_numpy(features)
    by_count = counts.sort_values("count", ascending=False, kind="stable").groupby("feature")
    for rank in range(RARE_COUNTRIES):
        countries = by_count.nth(rank).set_index("feature")["country"]
        chosen = countries.reindex(rare, fill_value=wide.countries).to_numpy(np.int32)
        wide.rare_countries[: len(rare), rank] = torch.from_numpy(chosen)


def count_features(wide: Wide, names: Names) -> pd.DataFrame:
    """How often the names of each country have each feature.

    Returns:
        ``feature``, its hash, ``country``, ``is_short`` and ``count``, ordered by the first three.
    """
    keys = counts = np.empty(0, np.int64)
    for rows in batches_by_length(names, BLOCK):
        batch = collate(names, rows, torch.device("cpu"))
        real = real_codes(batch.codes, batch.lengths)
        hashes, _, counted = wide.features(batch.codes, batch.codes, real)
        # One number for feature, country and shortness: `np.unique` of rows is much slower.
        pairs = hashes * wide.countries + batch.labels[:, None, None]
        new = (2 * pairs + (torch.arange(hashes.shape[2]) < SHORT))[counted].numpy()
        weights = np.concatenate([counts, np.ones_like(new)])
        keys, positions = np.unique(np.concatenate([keys, new]), return_inverse=True)
        counts = np.bincount(positions, weights).astype(np.int64)
    features, countries = np.divmod(keys // 2, wide.countries)
    columns = {"feature": features, "country": countries, "is_short": keys % 2 == 1}
    return pd.DataFrame({**columns, "count": counts})
