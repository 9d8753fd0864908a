"""The task runner that executes functions on a cluster of Ray."""

from collections.abc import Mapping
from concurrent.futures import CancelledError, InvalidStateError
from concurrent.futures import Future as Answer
from contextlib import suppress
from typing import Any, Self

from jtask_clusters.connection import Connection, imported
from jtask_clusters.remote import RemoteCall
from jtask_clusters.runner import ClusterTaskRunner, Sent


class RayTaskRunner(ClusterTaskRunner):
    """Execute the functions of runs on a cluster of Ray.

    Names and meanings are those of Prefect's runner. A Ray that this process has already is used;
    without one, and without an address, one of this machine is started when it is first needed. It
    ends with the process, or when the program calls `ray.shutdown()`.

    Args:
        address: The cluster, such as `ray://host:10001`.
        init_kwargs: What `ray.init` is called with.
        max_workers: How many runs are given to the cluster at once.
    """

    def __init__(
        self,
        address: str | None = None,
        init_kwargs: Mapping[str, Any] | None = None,
        max_workers: int | None = None,
    ) -> None:
        super().__init__(max_workers)
        self._address = address
        self._init_kwargs = dict(init_kwargs or {})
        self._connection = Connection[Any](self._open, lambda _: None)

    def send(self, call: RemoteCall) -> Sent:
        """Give a call to the cluster; returns at once."""
        ray, execute = self._connection.get()
        return _RaySent(ray, execute.remote(call))

    def duplicate(self) -> Self:
        """Return another one, which uses the same cluster."""
        copy = type(self)(max_workers=self._max_workers)
        copy._connection = self._connection
        return copy

    def _open(self) -> Any:
        ray = imported("ray", "ray")
        if not ray.is_initialized():
            ray.init(address=self._address, **self._init_kwargs)
        return ray, ray.remote(_execute)


class _RaySent:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray = ray
        self._reference = reference
        self._over: Answer[Any] = Answer()
        reference.future().add_done_callback(self._ended)

    def result(self, timeout: float | None) -> Any:
        try:
            return self._over.result(timeout)
        except self._ray.exceptions.RayTaskError as error:
            # What the function raised, and not what Ray has made of it.
            raise error.cause from None

    def cancel(self) -> None:
        # By its process, which executes nothing else; Ray starts another one.
        self._ray.cancel(self._reference, force=True)
        with suppress(InvalidStateError):
            self._over.set_exception(CancelledError())

    def _ended(self, answer: "Answer[Any]") -> None:
        error = answer.exception()
        with suppress(InvalidStateError):  # it was cancelled meanwhile
            if error is None:
                self._over.set_result(answer.result())
            else:
                self._over.set_exception(error)


def _execute(call: RemoteCall) -> Any:
    return call.execute()
