"""What the documentation tells users to import stays where it is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLISHED = {
    "jtask": [
        "Run",
        "State",
        "StateName",
        "Task",
        "allow_failure",
        "contract",
        "errors",
        "flow",
        "get_run",
        "get_run_logger",
        "hooks",
        "ids",
        "lifecycle",
        "options",
        "runtime",
        "settings",
        "tags",
        "task",
        "unmapped",
    ],
    "jtask.annotations": ["allow_failure", "opaque", "quote", "unmapped"],
    "jtask.cache_policies": [
        "DEFAULT",
        "FLOW_PARAMETERS",
        "INPUTS",
        "NONE",
        "NO_CACHE",
        "RUN_ID",
        "TASK_SOURCE",
        "CacheKeyFnPolicy",
        "CachePolicy",
        "IsolationLevel",
        "task_input_hash",
    ],
    "jtask.cli": ["main"],
    "jtask.client": ["get_client"],
    "jtask.contract": ["Broker", "BrokerFactory", "FullBroker", "OpenResultStore"],
    "jtask.declaration": ["TaskInfo"],
    "jtask.errors": [
        "ArgumentError",
        "BrokerError",
        "BrokerUnavailable",
        "NotUnique",
        "ProcessDied",
        "RetryAfter",
        "RunCancelled",
        "RunFailed",
        "RunNotFound",
        "RunNotReady",
        "RunRefused",
        "RunTimedOut",
        "SerializationError",
        "SoftTimeout",
        "TaskDefinitionError",
    ],
    "jtask.bulk_actions": ["BulkAction", "BulkCarrier", "BulkItem"],
    "jtask.futures": ["FutureList", "as_completed", "wait"],
    "jtask.hooks": ["hookimpl", "only_in", "only_with"],
    "jtask.lease_guard": ["LeaseGuard", "Renew"],
    "jtask.lifecycle": ["Retry", "RollBack"],
    "jtask.options": ["Option"],
    "jtask.outcomes": ["Outcome"],
    "jtask.plugins": ["get_plugins"],
    "jtask.retries": ["exponential_backoff"],
    "jtask.run_filters": ["Condition", "RunFilter"],
    "jtask.run_index": ["IndexPosition", "RunIndex", "RunPage"],
    "jtask.run_summaries": ["RunSummary"],
    "jtask.runtime": ["RunContext"],
    "jtask.settings": ["SettingsModel", "settings_of"],
    "jtask.states": ["Cancelled", "Completed", "Crashed", "Failed", "State", "StateName"],
    "jtask.task_runners": ["TaskRunner", "ThreadPoolTaskRunner"],
    "jtask.task_worker": ["serve"],
    "jtask.tasks": ["Task", "exponential_backoff"],
    "jtask.testing": ["run_worker"],
    "jtask.testing.contract": ["BrokerContract", "ResultStoreContract"],
    "jtask.worker.log_output": ["add_run"],
    "jtask_cancellation.bulk": ["cancel_many", "find_runs"],
    "jtask_cancellation.many": ["cancel_many", "find_runs"],
    "jtask_dead_letters.operations": ["list_letters", "replay_letter"],
    "jtask_dead_letters.upkeep": ["list_letters", "replay_letter"],
    "jtask_index.reader": ["IndexReader"],
    "jtask_limits": ["arate_limit", "concurrency", "rate_limit"],
    "jtask_limits.definitions": ["Limit"],
    "jtask_limits.operations": [
        "create_limit",
        "holders_of",
        "list_limits",
        "remove_limit",
        "update_limit",
    ],
    "jtask_console": ["Caller", "Role", "mount"],
    "jtask_queues.operations": ["list_queues", "pause_queue", "purge_queue", "resume_queue"],
    "jtask_queues.upkeep": ["list_queues", "pause_queue", "purge_queue", "resume_queue"],
    "jtask_transactions": [
        "CommitMode",
        "IsolationLevel",
        "Transaction",
        "TransactionState",
        "get_transaction",
        "once",
        "transaction",
    ],
    "jtask_retries.conditions": ["when_allowed"],
    "jtask_retries.options": ["declared"],
    "jtask_retries.policy": ["policy_of"],
    "jtask_retries.settings": ["RetrySettings"],
}
"""Names that documentation or examples have published, by module. Add, and do not take away."""
FOREIGN = (
    "jtask_audit",
    "jtask_bell",
    "jtask_bell_settings",
    "jtask_pigeon",
    "jtask_sqlite_results",
    "jtask_office_hours",
)
"""Packages that the documentation invents, or that are examples."""


@pytest.mark.parametrize("module", PUBLISHED)
def test_a_published_name_can_be_imported_from_where_it_was(module: str) -> None:
    names = ", ".join(PUBLISHED[module])
    exec(f"from {module} import {names}", {})


def test_every_name_that_the_documentation_imports_is_published() -> None:
    missing = [
        f"{module}.{name}"
        for module, name in imported_in_documentation()
        if name not in PUBLISHED.get(module, [])
    ]
    assert missing == []


def imported_in_documentation() -> Iterator[tuple[str, str]]:
    for file in (*ROOT.glob("docs/*.md"), ROOT / "README.md", *ROOT.glob("examples/**/*.py")):
        for code in code_of(file):
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom) and is_jtask(node.module or ""):
                    yield from ((str(node.module), alias.name) for alias in node.names)


def code_of(file: Path) -> list[str]:
    text = file.read_text()
    return [text] if file.suffix == ".py" else re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def is_jtask(module: str) -> bool:
    package = module.partition(".")[0]
    return package.startswith("jtask") and package not in FOREIGN
