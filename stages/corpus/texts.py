"""The memory of Arrow's text columns as NumPy arrays: work on all letters at once."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def flat(texts: pa.StringArray | pa.BinaryArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All bytes end to end, without a copy, and where each text begins.

    Returns:
        content: (sum of lengths,)
        edges: (texts + 1,) text i is ``content[edges[i]:edges[i + 1]]``.
    """
    _, offsets, data = texts.buffers()
    if not len(texts):
        return np.empty(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    edges = np.frombuffer(offsets, dtype=np.int32)[texts.offset :][: len(texts) + 1]
    content = np.frombuffer(data or b"", dtype=np.uint8)[edges[0] : edges[-1]]
    return content, edges.astype(np.int64) - edges[0]
