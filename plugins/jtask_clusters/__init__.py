"""Task runners that execute functions on a cluster of Dask or Ray.

    from jtask_clusters import DaskTaskRunner

    with DaskTaskRunner(address="tcp://scheduler:8786"):
        futures = heavy.map(parts)

Install `jtask[dask]` or `jtask[ray]`.
"""

from jtask_clusters.dask_runner import DaskTaskRunner
from jtask_clusters.ray_runner import RayTaskRunner
from jtask_clusters.runner import ClusterTaskRunner

__all__ = ["ClusterTaskRunner", "DaskTaskRunner", "RayTaskRunner"]
