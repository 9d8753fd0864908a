"""Three real nats-servers that form a cluster on 127.0.0.1, with routes that can be slow."""

import contextlib
import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_ports
from nats_servers import BINARY
from relay import Relay
from waiting import eventually

_NAMES = ("one", "two", "three")


class Node:
    """One server of a cluster; keeps its ports and its store over restarts.

    Args:
        folder: For its files.
        name: Unique in the cluster.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder
        self.port, self.cluster_port, self.monitor_port = free_ports(3)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        return self.process is not None

    def write_config(self, routes: list[int], pool_size: int, *, advertise: bool) -> None:
        listed = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        self.folder.mkdir()
        (self.folder / "server.conf").write_text(
            f'server_name: "{self.name}"\n'
            f'listen: "127.0.0.1:{self.port}"\n'
            f'http: "127.0.0.1:{self.monitor_port}"\n'
            f'jetstream {{ store_dir: "{self.folder}/store" }}\n'
            f'cluster {{ name: "test", listen: "127.0.0.1:{self.cluster_port}"\n'
            f"  no_advertise: {str(not advertise).lower()}\n"
            f"  pool_size: {pool_size}\n  routes: [{listed}] }}\n"
        )

    def start(self) -> None:
        config, log = str(self.folder / "server.conf"), str(self.folder / "server.log")
        self.process = subprocess.Popen([BINARY, "-c", config, "-l", log])

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(subprocess.Popen.kill)

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(subprocess.Popen.terminate)

    def is_healthy(self) -> bool:
        """Whether it has caught up with the others."""
        with contextlib.suppress(OSError):
            self._ask("healthz")
            return True
        return False

    def can_place(self) -> bool:
        """Whether it leads and has heard of both others, so that a stream has its replicas."""
        with contextlib.suppress(OSError):
            peers = self._ask("jsz").get("meta_cluster", {}).get("replicas") or ()
            here = [peer for peer in peers if peer["current"] and not peer.get("offline")]
            return len(here) == len(_NAMES) - 1
        return False

    def _ask(self, path: str) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self.monitor_port}/{path}"
        with urllib.request.urlopen(address, timeout=2) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def _end(self, how: Callable[["subprocess.Popen[bytes]"], None]) -> None:
        if self.process is not None:
            how(self.process)
            self.process.wait()
            self.process = None


class NatsCluster:
    """Three servers.

    Args:
        folder: For their files.
        route_delay: Seconds that what one server says to another is on the way.
        pool_size: Of connections between two servers, of which an account uses one; the server's
            own default, or -1 for one connection for all that they say.
        advertise: Whether who connects to one server is told where the others are. Not with a
            delay: they would learn each other's own ports, past what delays it.
    """

    def __init__(
        self,
        folder: Path,
        route_delay: float = 0.0,
        pool_size: int = 3,
        *,
        advertise: bool = False,
    ) -> None:
        self.nodes = [Node(folder / name, name) for name in _NAMES]
        self._relays: list[Relay] = []
        for node in self.nodes:
            others = [other.cluster_port for other in self.nodes if other is not node]
            routes = [self._reached(port, route_delay) for port in others]
            node.write_config(routes, pool_size, advertise=advertise)

    @property
    def url(self) -> str:
        """All its servers, as a user would write them."""
        return "nats://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        for node in self.nodes:
            node.start()

    def await_leader(self) -> str:
        """Wait until streams can be made, and return the name of the leader."""
        return eventually(lambda: next((n.name for n in self.nodes if n.can_place()), None))

    def await_healthy(self) -> None:
        """Wait until every server that runs has caught up."""
        for node in self.nodes:
            if node.is_running:
                eventually(node.is_healthy)

    def node(self, name: str) -> Node:
        """The server of a name."""
        return next(node for node in self.nodes if node.name == name)

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        for relay in self._relays:
            relay.close()

    def _reached(self, port: int, delay: float) -> int:
        if not delay:
            return port
        self._relays.append(Relay(port, delay))
        return self._relays[-1].port


StartCluster = Callable[..., NatsCluster]


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[StartCluster]:
    """Start a cluster of a test's own; options as for NatsCluster."""
    clusters: list[NatsCluster] = []

    def start(**options: Any) -> NatsCluster:
        folder = tmp_path / f"cluster{len(clusters)}"
        folder.mkdir()
        clusters.append(NatsCluster(folder, **options))
        clusters[-1].start()
        return clusters[-1]

    yield start
    for cluster in clusters:
        cluster.close()
