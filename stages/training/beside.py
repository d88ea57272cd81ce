"""A function at work in a process of its own, beside this one."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from stages.core.errors import Interrupted, UserError

ResultT = TypeVar("ResultT")


class Beside(Generic[ResultT]):
    """Begins with the context; who leaves it without the result asks the process to stop.

    That is by SIGTERM, and waits. A process whose parent is killed must notice by itself.
    """

    def __init__(self, function: Callable[..., ResultT], *arguments: Any) -> None:
        """Describe the work.

        Args:
            function: a module's function.
            arguments: for it; pickled, as are its result and errors of the user's making.
        """
        context = multiprocessing.get_context("spawn")  # threads must not be copied by a fork
        self._answer, there = context.Pipe(duplex=False)
        self._there = there
        self._process = context.Process(target=_answer, args=(there, function, arguments))

    def __enter__(self) -> Self:
        self._process.start()
        self._there.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.join()
        self._answer.close()

    def ready(self, within: float) -> bool:
        """Whether `result` comes without waiting, in so many seconds at the latest."""
        return self._answer.poll(within)

    def result(self) -> ResultT:
        """Wait for what the function returns.

        Raises:
            UserError: the process was killed; an error of the user's making comes as it is.
        """
        try:
            value, error = self._answer.recv()
        except EOFError:
            self._process.join()
            raise UserError(
                f"{self._process.name} died, exit status {self._process.exitcode} (killed by "
                "hand, or for want of memory); run again to go on from here"
            ) from None
        if error:
            raise error
        result: ResultT = value
        return result


def _answer(there: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    value = error = None
    try:
        value = function(*arguments)
    except (UserError, Interrupted, OSError) as raised:  # a bug keeps its traceback, here
        error = raised
    there.send((value, error))
