"""Open what follows the event log, by the settings."""

from jtask_index.engines import open_engine
from jtask_index.follower import Follower, OnChange, tell_nobody
from jtask_index.reader import index_url
from jtask_index.retention import Limits
from jtask_index.settings import IndexSettings
from jtask_index.writer import IndexWriter


def open_follower(url: str | None = None, on_change: OnChange = tell_nobody) -> Follower:
    """Return what follows the event log of this process's broker; makes the tables.

    Args:
        url: Of the database; None is that of the settings.
        on_change: See `Follower`.

    Raises:
        BrokerError: The broker cannot be reached.
        ConfigurationError: The URL is none, or the tables are of a later version of jtask.
        IndexUnavailable: The database cannot be reached.
    """
    from jtask.client import get_client
    from jtask.settings import settings_of

    settings = settings_of(IndexSettings)
    client = get_client()  # first: a database that is open is to be closed again
    writer = IndexWriter(open_engine(url or index_url()))
    try:
        writer.prepare()
    except BaseException:
        writer.close()
        raise
    limits = Limits(settings.index_ttl, settings.index_runs, settings.index_size)
    return Follower(client, writer, limits, on_change=on_change)
