"""Handles of several runs, asked as one."""

from typing import TYPE_CHECKING, Any, TypeVar, cast

from jtask.errors import ResultTimeout
from jtask.futures.completion import as_completed, as_completed_async, wait, wait_async
from jtask.futures.future import Future
from jtask.futures.submitted_run import SubmittedRun
from jtask.nested_values import take_as_list

R = TypeVar("R")


class FutureList(list[Future[R]]):
    """A list of handles; one run may be in it several times."""

    @property
    def as_values(self) -> list[R]:
        """This list, for type checkers that of the values; see `Future.as_value`."""
        return cast("list[R]", self)

    if not TYPE_CHECKING:  # or every attribute would be known to type checkers

        def __getattr__(self, name: str) -> Any:
            from jtask.other_libraries import ON_RUN_LISTS, no_attribute

            if (error := no_attribute("a list of handles", name, ON_RUN_LISTS)) is not None:
                raise error
            return object.__getattribute__(self, name)  # raises what Python says

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all runs are over, whatever their ends.

        Args:
            timeout: Seconds for all of them; None waits for ever.

        Returns:
            bool: Whether all are over.
        """
        return not wait(self, timeout).not_done

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Do what `wait` does without blocking the event loop."""
        return not (await wait_async(self, timeout)).not_done

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R]:
        """Wait for the values of all runs.

        Args:
            timeout: Seconds for all of them; None waits for ever.
            raise_on_failure: False puts the exception of a run in the place of its value.

        Returns:
            list[R]: The values in the order of the list.

        Raises:
            ResultTimeout: Not all were over in time.
            Exception: That of the first run that fails, as soon as it does. Those of others are
                not logged: with `asyncio.gather`, too, one stands for all.
        """
        failed: BaseException | None = None
        try:
            for future in as_completed(self, timeout):
                if raise_on_failure and (failed := future.exception()) is not None:
                    break
        except TimeoutError as error:
            raise ResultTimeout(f"{error} within {timeout} seconds") from None
        self._raise(failed)
        return [future.result(raise_on_failure=raise_on_failure) for future in self]

    async def result_async(
        self, timeout: float | None = None, raise_on_failure: bool = True
    ) -> list[R]:
        """Do what `result` does without blocking the event loop."""
        failed: BaseException | None = None
        try:
            async for future in as_completed_async(self, timeout):
                if raise_on_failure and (failed := future.exception()) is not None:
                    break
        except TimeoutError as error:
            raise ResultTimeout(f"{error} within {timeout} seconds") from None
        self._raise(failed)
        return [await future.result_async(raise_on_failure=raise_on_failure) for future in self]

    def _raise(self, error: BaseException | None) -> None:
        if error is None:
            return
        for future in self:
            if isinstance(future, SubmittedRun):
                future.note_asked()
        try:
            raise error
        finally:
            del error  # its frames hold this one


take_as_list(FutureList)  # with values in it, it would have methods that are none of theirs
