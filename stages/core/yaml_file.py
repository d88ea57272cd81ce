"""YAML files."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.core.errors import UserError, brief

# The last four are the parser's own slips on odd scalars such as `!!int ""`.
NO_YAML = (YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def read_yaml(path: Path) -> Any:
    """The values of a file.

    Raises:
        UserError: it cannot be read, or is not YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except NO_YAML as error:
        raise UserError(f"{path}: not valid YAML: {brief(error, 200)}") from None
