"""Populations in the columns of a table, for `onoma shares` and for reweighted predictions."""

import pyarrow as pa

from stages.core.errors import UserError, brief
from stages.core.progress import progress
from stages.corpus.tables import Table
from stages.serving.columns import Answerer
from stages.serving.predictor import Predictor
from stages.serving.shares import Population

MOST_GROUPS = 1000


def read_populations(
    model: Predictor,
    source: Table,
    column: str,
    full_names: bool = False,
    by: str | None = None,
    given: str | None = None,
) -> dict[str, Population]:
    """Read a table; return the population of each group, in order of appearance.

    Without a column ``by``, all rows are the group "". Rows that cannot be read are left out;
    ``source`` counts them.

    Raises:
        UserError: the file cannot be read, has no such column, no names or too many groups.
    """
    path = source.file
    source.check_text(column)
    if given:
        source.check_text(given, "--given")
    if by is not None and source.schema.names.count(by) != 1:
        choice = brief(", ".join(source.schema.names), 300)
        raise UserError(f"{path}: has no column {brief(by, 60)!r}; use --by, one of: {choice}")
    answer = Answerer(model, full_names)
    groups: dict[str, Population] = {}
    with progress("shares", source.rows, "rows") as bar:
        for batch, problems in source.batches():
            if problems.null_count < len(problems):
                batch = batch.filter(problems.is_null())
            answers, positions = answer(
                batch.column(column), batch.column(given) if given else None
            )
            texts = pa.repeat("", len(batch)) if by is None else batch.column(by).cast(pa.string())
            encoded = texts.fill_null("").dictionary_encode()
            for n, value in enumerate(encoded.dictionary.to_pylist()):
                if value not in groups:
                    if len(groups) == MOST_GROUPS:
                        raise UserError(f"{path}: column {by!r} has over {MOST_GROUPS:,} values")
                    groups[value] = Population(model.countries, model.held_out, seed=len(groups))
                own = answers.take(positions[encoded.indices.to_numpy() == n])
                groups[value].add(own.probabilities, own.reasons, own.kinds)
            bar.update(len(positions))
    if not any(population.names for population in groups.values()):
        raise UserError(f"{path}: has no names")
    return groups
