"""Where the console says that the trace of a run is."""

import pytest

from jtask.errors import ConfigurationError
from jtask.run_summaries import RunSummary
from jtask.settings import settings_of
from jtask_console.pages.run import trace_url
from jtask_console.settings import ConsoleSettings

TRACE = f"{10:032x}"


def run(trace_id: str) -> RunSummary:
    return RunSummary("0190b8a0", "mail", "Completed", 1.0, 1.0, trace_id=trace_id)


@pytest.mark.parametrize(
    ("template", "trace_id", "expected"),
    [
        (None, TRACE, ""),
        ("http://jaeger/trace/{trace_id}", TRACE, f"http://jaeger/trace/{TRACE}"),
        ("http://jaeger/trace/{trace_id}", "", ""),
        ("http://jaeger/trace/{trace_id}", "../?a=b", "http://jaeger/trace/..%2F%3Fa%3Db"),
        ("http://jaeger/search?run={run_id}", "", "http://jaeger/search?run=0190b8a0"),
    ],
)
def test_a_run_with_a_trace_has_a_link_to_it(
    template: str | None, trace_id: str, expected: str
) -> None:
    assert trace_url(template, run(trace_id)) == expected


@pytest.mark.parametrize("url", ["http://jaeger/trace", "jaeger/{trace_id}"])
def test_an_address_without_a_run_in_it_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_CONSOLE_TRACE_URL", url)
    with pytest.raises(ConfigurationError, match="must be an http address"):
        settings_of(ConsoleSettings)
