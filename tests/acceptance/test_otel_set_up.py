"""Who sets OpenTelemetry up, and that nobody pays for it who does not use it."""

import pytest
from otlp_receiver import Receiver
from processes import Place

TASKS = """
from jtask import task

@task(queue="quiet")
def quiet(number: int) -> int:
    return number
"""
RUN = """
import sys
from jtask.testing import run_worker
from quiet import quiet

with run_worker(quiet):
    quiet.delay(1).result(timeout=30)
{after}
"""


@pytest.fixture(autouse=True)
def memory(place: Place) -> None:
    place.env["JTASK_URL"] = "memory://quiet"
    place.write("quiet.py", TASKS)


def test_the_variables_alone_set_it_up_in_a_program_and_in_its_worker(
    place: Place, receiver: Receiver
) -> None:
    place.env |= receiver.env
    place.ask(RUN.format(after="print('null')"))
    assert sorted(span.name for span in receiver.spans) == ["process quiet", "publish quiet"]
    (name,) = {span.resource["service.name"] for span in receiver.spans}
    assert name == "shop"
    assert receiver.points("messaging.client.sent.messages")


def test_what_other_threads_do_while_one_sets_it_up_is_recorded(
    place: Place, receiver: Receiver
) -> None:
    place.env |= receiver.env
    place.ask(
        """
        import threading
        from quiet import quiet

        all_begin = threading.Barrier(4)

        def call(number):
            all_begin.wait()
            quiet(number)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("null")
        """
    )
    assert len(receiver.spans) == 4


def test_without_a_name_the_service_is_called_as_the_namespace_is(
    place: Place, receiver: Receiver
) -> None:
    env = {k: v for k, v in receiver.env.items() if k != "OTEL_SERVICE_NAME"}
    place.env |= env | {"JTASK_NAMESPACE": "stock"}
    place.ask(RUN.format(after="print('null')"))
    assert {span.resource["service.name"] for span in receiver.spans} == {"stock"}


def test_who_names_the_exporter_of_traces_only_gets_no_metrics(
    place: Place, receiver: Receiver
) -> None:
    place.env |= receiver.env | {"OTEL_TRACES_EXPORTER": "otlp"}
    place.ask(RUN.format(after="print('null')"))
    assert len(receiver.spans) == 2
    assert receiver.points("messaging.client.sent.messages") == []


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"JTASK_OTEL": "false"}])
def test_it_can_be_switched_off(place: Place, receiver: Receiver, off: dict[str, str]) -> None:
    place.env |= receiver.env | off
    loaded = "print(json.dumps([name for name in sys.modules if 'opentelemetry' in name]))"
    assert place.ask(RUN.format(after=loaded)) == []
    assert receiver.spans == []


def test_without_any_of_it_nothing_of_opentelemetry_is_imported(place: Place) -> None:
    loaded = "print(json.dumps([name for name in sys.modules if 'opentelemetry' in name]))"
    assert place.ask(RUN.format(after=loaded)) == []


def test_a_provider_of_the_programs_own_is_used(place: Place, receiver: Receiver) -> None:
    own = """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    seen = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(seen))
    trace.set_tracer_provider(provider)
    """
    after = "print(json.dumps(sorted(span.name for span in seen.get_finished_spans())))"
    place.env |= receiver.env | {"OTEL_METRICS_EXPORTER": "none"}
    program = "\n".join(line.strip() for line in own.splitlines()) + RUN.format(after=after)
    assert place.ask(program) == ["process quiet", "publish quiet"]
    assert receiver.spans == []


def test_a_provider_that_is_set_after_the_first_run_is_used_from_then_on(place: Place) -> None:
    program = """
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from jtask.testing import run_worker
from quiet import quiet

seen = InMemorySpanExporter()
with run_worker(quiet):
    quiet.delay(1).result(timeout=30)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(seen))
    trace.set_tracer_provider(provider)
    quiet.delay(1).result(timeout=30)
print(json.dumps(sorted(span.name for span in seen.get_finished_spans())))
"""
    assert place.ask(program) == ["process quiet", "publish quiet"]


def test_serve_refuses_an_exporter_that_is_not_installed_in_one_sentence(place: Place) -> None:
    done = place.jtask("serve", "quiet:quiet", "--otel", OTEL_TRACES_EXPORTER="nonesuch")
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "nonesuch" in done.stderr


def test_the_call_refuses_an_exporter_that_is_not_installed(place: Place) -> None:
    said = place.ask(
        """
        import os
        os.environ["OTEL_TRACES_EXPORTER"] = "nonesuch"
        import jtask_otel
        from jtask.errors import ConfigurationError
        try:
            jtask_otel.setup()
        except ConfigurationError as error:
            print(json.dumps(str(error)))
        """
    )
    assert "nonesuch" in said


def test_a_program_goes_on_without_an_exporter_that_only_a_variable_names(place: Place) -> None:
    program = place.start_python(
        RUN.format(after="print(json.dumps('went on'))"), OTEL_TRACES_EXPORTER="nonesuch"
    )
    assert program.answer() == "went on"
    assert program.log.count("nothing is exported") == 1
