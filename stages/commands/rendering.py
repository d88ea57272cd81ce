"""Text from the Jinja2 templates in stages/commands/templates."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from stages.core.files import write_text


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
    """Text that neither ends its cell of a Markdown table nor becomes HTML."""
    text = " ".join(str(value).split())
    for special, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "'")):
        text = text.replace(special, safe)
    return text
