"""Core's own settings."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from jtask.settings.model import NAME_PATTERN, Seconds, SettingsModel


def _name_of(longest: int) -> str:
    return f"{NAME_PATTERN}{longest}}}$"


class Settings(SettingsModel):
    """What can be set; times in seconds or as `"1.5s"`, `"10m"`, `"1h"`, `"7d"`."""

    url: str = "embedded://"
    """Broker: `embedded://` (default), `nats://host:port[,host:port]`, `tls://...`, `memory://`."""
    results_url: str | None = None
    """Where outcomes are kept; unset is the broker itself. Likewise for the next nine."""
    events_url: str | None = None
    """Where the events of runs are kept."""
    logs_url: str | None = None
    """Where the logs of runs are kept."""
    items_url: str | None = None
    """Where the items of generators in the background are kept."""
    blobs_url: str | None = None
    """Where values are kept that are too big for a message."""
    counters_url: str | None = None
    """Where counters are kept."""
    slots_url: str | None = None
    """Where limits and locks are kept."""
    dead_letters_url: str | None = None
    """Where dead letters are read and deleted; the broker writes them."""
    heartbeats_url: str | None = None
    """Where workers say that they live."""
    requests_url: str | None = None
    """Where living workers are asked."""
    records_url: str | None = None
    """Where schedules, cancel requests and other small values are kept."""
    record_direct_calls: Literal["auto", "on", "off"] = "auto"
    """Whether direct calls can be looked up; `auto`: with a broker, or while a server runs."""
    namespace: str = Field(default="default", pattern=_name_of(32))
    """Keeps applications on one server apart."""
    home: Path | None = None
    """Folder of the embedded server; default: `jtask` in the user's data folder."""
    plugins: str | None = None
    """Comma-separated names of the plugins to load; unset loads all that are installed."""
    serializer: Literal["json", "cloudpickle"] = "json"
    """For tasks that do not say."""
    queue: str | None = Field(default=None, pattern=_name_of(128))
    """Queue of tasks that do not say; unset gives each task its own."""
    runner_threads: int = Field(default=32, ge=1)
    """How many submitted runs execute at once in threads, where the task runner does not say."""
    runner_processes: int | None = Field(default=None, ge=1)
    """Likewise in processes; unset is the number of processors."""
    log_format: Literal["text", "json"] = "text"
    """How a worker writes its log: lines for people, or one JSON object a line."""
    connect_timeout: Seconds = Field(default=5.0, gt=0)
    """How long the first contact with the broker may take."""
    enqueue_timeout: Seconds = Field(default=10.0, gt=0)
    """How long `.delay()` tries to store a run while the broker cannot be reached."""
    lease: Seconds = Field(default=15.0, ge=1)
    """A run whose worker died is started elsewhere after this long."""
    max_waiting: int = Field(default=100, ge=1)
    """So many runs of a worker may wait for others; then it puts off what they do not wait for."""
    max_crashes: int = Field(default=3, ge=1)
    """A run that lost this many workers is dead-lettered as Crashed."""
    result_ttl: Seconds = Field(default=86_400.0, ge=1)
    """How long outcomes are kept."""
    result_limit: int = Field(default=250_000_000, ge=1)
    """How many bytes a result may have as it is stored."""
    event_ttl: Seconds = Field(default=7 * 86_400.0, ge=1)
    """How long events are kept."""
    event_arguments: int = Field(default=4096, ge=0)
    """How many bytes of the arguments of a run its first event says; 0 for none."""
    log_ttl: Seconds = Field(default=7 * 86_400.0, ge=1)
    """How long the logs of runs are kept."""
    item_ttl: Seconds = Field(default=86_400.0, ge=1)
    """How long the items of generators in the background are kept."""
    dead_letter_ttl: Seconds = Field(default=30 * 86_400.0, ge=1)
    """How long dead letters are kept."""
