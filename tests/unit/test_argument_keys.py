"""Keys that options make of arguments reach nothing else, and have names that a broker takes."""

import re

import pytest

from jtask import task
from jtask.argument_keys import filled_in, storable
from jtask.errors import TaskDefinitionError

_OF_CALLS = ("idempotency_key", "unique", "debounce_key", "fair_key", "limit_key")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{ordr}", "ordr"),
        ("{}", "has no name"),
        ("{0}", "has no name"),
        ("{order", "is no template: expected .* write {{ for a brace"),
        ("{order.__class__}", "private"),
        ("{order[_x]}", "private"),
        ("{order:>99999999}", "makes no key"),
        ("{order:{note}}", "makes no key"),
    ],
)
def test_a_template_from_outside_reaches_nothing_but_the_arguments(
    template: str, reason: str
) -> None:
    with pytest.raises((ValueError, LookupError), match=reason):
        filled_in(template, {"order": 17, "note": "x"})


@pytest.mark.parametrize("option", [*_OF_CALLS, "task_run_name", "result_storage_key"])
@pytest.mark.parametrize(
    "template", ["{order", "{}", "{order.__class__}", "{order:>99999999}", "{order!z}"]
)
def test_a_template_that_can_never_be_filled_in_is_refused_at_the_definition(
    option: str, template: str
) -> None:
    with pytest.raises(TaskDefinitionError, match=f"option '{option}': "):
        task(options={option: template, "limit": 1, "debounce": 1})(lambda order: None)


@pytest.mark.parametrize("option", [*_OF_CALLS, "task_run_name"])
def test_a_template_that_names_no_parameter_is_refused_at_the_definition(option: str) -> None:
    options: dict[str, object] = {option: "{ordr.id:>3}", "limit": 1, "debounce": 1}
    expected = (
        f"task 'ship', option '{option}': "
        "the template '{ordr.id:>3}' names 'ordr'; it may name: order, kwargs"
    )
    with pytest.raises(TaskDefinitionError, match=f"^{re.escape(expected)}$"):

        @task(options=options)
        def ship(order: int, **kwargs: int) -> None:
            del order, kwargs


def test_a_template_for_a_task_without_parameters_may_name_nothing() -> None:
    with pytest.raises(TaskDefinitionError, match=r"nothing, for the task has no parameters$"):
        task(unique="{day}")(lambda: None)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{order}", "names 'order'; it may name: parameters, task_run, flow_run$"),
        ("{parameters[ordr]}", "names 'ordr'; it may name: order$"),
    ],
)
def test_the_template_of_a_stored_result_names_what_a_run_has(template: str, reason: str) -> None:
    with pytest.raises(TaskDefinitionError, match=reason):
        task(result_storage_key=template)(lambda order: None)
    task(result_storage_key="{parameters[order]}-{task_run.run_id}-{flow_run.name}")(
        lambda order: None
    )


def test_a_copy_for_one_call_is_told_of_its_template_where_it_is_made() -> None:
    @task
    def ship(order: int) -> None:
        del order

    with pytest.raises(TaskDefinitionError, match="names 'ordr'"):
        ship.with_options(idempotency_key="{ordr}")


def test_a_template_of_a_method_may_name_its_object() -> None:
    class Shop:
        @task(unique="{self.name}-{order}")
        def ship(self, order: int) -> None:
            del order

    assert Shop.ship.options["unique"] == "{self.name}-{order}"


@pytest.mark.parametrize("text", ["x" * 1000, "\ud800", "☃" * 300])
def test_what_a_broker_would_not_take_is_known_by_its_hash(text: str) -> None:
    assert storable("short", 100) == "short"
    assert len(storable(text, 100)) == 64
    assert storable(text, 100) != storable(text + "x", 100)
