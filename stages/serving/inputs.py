"""Names as callers hold them: lists, arrays, Series, columns. What is no name gets a reason."""

import operator
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import numpy as np

from stages.corpus.full_names import split_columns, surname
from stages.corpus.normalize import Rejected

Errors = Literal["coerce", "raise"]


def as_list(names: Iterable[Any], errors: Errors) -> list[Any]:
    """The values of a one-dimensional container.

    Args:
        names: list, tuple, array, pandas Series or Index, generator.
        errors: see `Predictor.predict`.

    Raises:
        TypeError: a single text, a table or no container.
        ValueError: an array of more or less than one dimension, or unknown ``errors``.
    """
    if errors not in get_args(Errors):
        raise ValueError(f"errors must be 'coerce' or 'raise', not {errors!r}")
    if isinstance(names, str | bytes | bytearray):
        raise TypeError("a list of names is needed, not one text: predict([name])")
    if isinstance(names, Mapping) or hasattr(names, "columns"):
        columns = ", ".join(map(str, getattr(names, "columns", names)))
        raise TypeError(f"one column is needed, not a table: predict(table[column]), of {columns}")
    if getattr(names, "ndim", 1) != 1:
        raise ValueError("names must have one dimension")
    values = getattr(names, "tolist", None) or getattr(names, "to_pylist", None)
    return list(values() if values else names)


def check(top: int, abstain: float) -> None:
    """Raise `TypeError` or `ValueError` for options that mean nothing."""
    if operator.index(top) < 1:
        raise ValueError(f"top must be 1 or more, not {top}")
    if not 0 <= abstain <= 1:  # NaN is not
        raise ValueError(f"abstain must be from 0 to 1, not {abstain}")


def read(name: Any, given: Any, reads_full_names: bool, full_names: bool) -> str:
    """The text that a model is asked, before it is normalised.

    Args:
        name: what the caller has for a name.
        given: what the caller has for a given name; None or empty if there is none.
        reads_full_names: whether the model is asked full names.
        full_names: whether a model of surnames is asked for the surname in ``name``.

    Raises:
        Rejected: a value is missing or no text.
    """
    text = _text(name)
    given_text = "" if given is None or _is_missing(given) else _text(given)
    if reads_full_names:
        return split_columns(given_text, text) if text.strip() else text
    return surname(text) if full_names and not given_text else text


def joined(name: Any, given: Any) -> Any:
    """A name in two columns as one text; a name in one as it is."""
    return f"{given} {name}" if isinstance(given, str) and isinstance(name, str) else name


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise Rejected("missing name" if _is_missing(value) else "not a text")


def _is_missing(value: Any) -> bool:
    """Whether this is None, NaN, or pandas' NA or NaT, which need not be imported."""
    is_nan = isinstance(value, float | np.floating) and value != value
    return value is None or bool(is_nan) or type(value).__name__ in ("NAType", "NaTType")
