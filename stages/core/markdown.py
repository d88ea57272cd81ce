"""Text from outside in Markdown: it is shown, and does nothing."""

import re

from stages.core.text import visible

# Words, and punctuation that means nothing where it stands; not the start of a list.
_PLAIN = re.compile(
    r"(?:(?!\d+[.)])[^\W_]|\()"
    r"(?:[^\W_]|[ ,;'’()+-]|(?<=\w)_(?=\w)|\.(?=\d)|[.:%](?= |$))*"
)


def inert(value: object) -> str:
    """Text from outside for Markdown: as it is if it is plain, else as a code span.

    In a code span forges neither follow Markdown or HTML nor turn URLs, @mentions and #numbers into
    links, which a backslash does not stop. A pipe would end a cell of a table even there.
    """
    text = visible(" ".join(str(value).split())).replace("|", "¦")
    if _PLAIN.fullmatch(text):
        return text
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    blank = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{blank}{text}{blank}{fence}"
