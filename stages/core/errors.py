"""What a person can mend, told in one line; everything else is a bug and keeps its traceback."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A fault of the input, the parameters or the machine: names the thing and the mend."""


class Interrupted(Exception):
    """The work was asked to stop and did so in good order; the message says what is kept."""


def exit_code(main: Callable[[], int | None]) -> int:
    """Run ``main`` and return its exit status: a `UserError` is one line on stderr and 1."""
    try:
        return main() or 0
    except UserError as error:
        print(f"onoma: {error}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        print(f"onoma: {stop}", file=sys.stderr)
        return 1
    except OSError as error:
        # A full disk, a read-only folder: the operating system's words name the file.
        print(f"onoma: {error}", file=sys.stderr)
        return 1
