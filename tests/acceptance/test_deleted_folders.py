"""A worker whose data folder somebody deletes, in the belief that this resets it."""

import shutil
import sys

import pytest
from processes import Place

CALLER = "from tasks import up\nprint(json.dumps(up.delay('a').result(60)))"


@pytest.mark.skipif(sys.platform != "linux", reason="the system lists no open files")
def test_a_worker_whose_data_folder_was_deleted_serves_whoever_comes_next(place: Place) -> None:
    place.write("tasks.py", "from jtask import task\n@task\ndef up(s: str): return s.upper()\n")
    worker = place.serve("tasks.py")
    worker.is_ready()
    shutil.rmtree(place.env["JTASK_HOME"])
    assert place.ask(CALLER) == "A"
    worker.says("reconnected to")
