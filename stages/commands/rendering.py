"""Text from the Jinja2 templates in stages/commands/templates."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from stages.core.files import write_text
from stages.core.text import visible

# Words, and punctuation that means nothing where it stands; not the start of a list.
_PLAIN = re.compile(
    r"(?:(?!\d+[.)])[^\W_]|\()"
    r"(?:[^\W_]|[ ,;'’()+-]|(?<=\w)_(?=\w)|\.(?=\d)|[.:%](?= |$))*"
)


def write_from_template(target: Path, template: str, **context: object) -> None:
    """Render ``template`` and write it; a name that ``context`` lacks raises `UndefinedError`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    write_text(target, environment.get_template(template).render(context))


def _cell(value: object) -> str:
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
