"""The task runner that executes functions on a cluster of Dask."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from jtask_clusters.connection import Connection, imported
from jtask_clusters.remote import RemoteCall
from jtask_clusters.runner import ClusterTaskRunner, Sent


class DaskTaskRunner(ClusterTaskRunner):
    """Execute the functions of runs on a cluster of Dask.

    Names and meanings are those of Prefect's runner. Without an address or a cluster, one of this
    machine is started when it is first needed, and closed at the end of the `with` block.

    Args:
        cluster: A cluster that exists already.
        address: The scheduler of one, such as `tcp://host:8786`.
        cluster_class: Makes a cluster; default: `distributed.LocalCluster`.
        cluster_kwargs: What it is called with.
        client_kwargs: What `distributed.Client` is called with.
        max_workers: How many runs are given to the cluster at once.
    """

    def __init__(
        self,
        cluster: Any = None,
        address: str | None = None,
        cluster_class: Any = None,
        cluster_kwargs: Mapping[str, Any] | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        max_workers: int | None = None,
    ) -> None:
        super().__init__(max_workers)
        self._cluster = cluster
        self._address = address
        self._cluster_class = cluster_class
        self._cluster_kwargs = dict(cluster_kwargs or {})
        self._client_kwargs = dict(client_kwargs or {})
        self._connection = Connection[Any](self._open, _close)
        self._is_copy = False

    def send(self, call: RemoteCall) -> Sent:
        """Give a call to the cluster; returns at once."""
        client = self._connection.get()
        # Not pure: the same arguments are another run all the same.
        return client.submit(RemoteCall.execute, call, pure=False)  # type: ignore[no-any-return]

    def duplicate(self) -> Self:
        """Return another one, which uses the same cluster."""
        copy = type(self)(max_workers=self._max_workers)
        copy._connection, copy._is_copy = self._connection, True
        return copy

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            if not self._is_copy:
                self._connection.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            if not self._is_copy:
                self._connection.close()

    def _open(self) -> Any:
        distributed = imported("distributed", "dask")
        cluster, is_own = self._address or self._cluster, False
        if cluster is None:
            make = self._cluster_class or distributed.LocalCluster
            cluster, is_own = make(**self._cluster_kwargs), True
        client = distributed.Client(cluster, **self._client_kwargs)
        client.jtask_cluster = cluster if is_own else None
        return client


def _close(client: Any) -> None:
    client.close()
    if client.jtask_cluster is not None:
        client.jtask_cluster.close()
