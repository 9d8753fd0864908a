"""What every test relies on, however the suite is started."""

import os
import signal
import tempfile

# A shell's background jobs ignore SIGINT, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A server that whoever runs the tests has started for himself is to take no part in them.
_data = tempfile.TemporaryDirectory(prefix="jtask-data-")
os.environ["XDG_DATA_HOME"] = _data.name


def pytest_unconfigure() -> None:
    _data.cleanup()
