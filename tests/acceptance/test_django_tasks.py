"""Tasks in a project of Django's, which is the one of docs/django.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE

PAGE = Path(__file__).parents[2] / "docs" / "django.md"
FILE = re.compile(r"^```python\n(# (\w+/\w+\.py)\n.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {
    "orders/__init__.py": "",
    "orders/models.py": """
from django.db import models

class Order(models.Model):
    item = models.TextField()
    is_billed = models.BooleanField(default=False)
""",
    "shop/__init__.py": "",
    "shop/settings.py": """
SECRET_KEY = "known to all who read this test, and long enough for Django"
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["orders"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite", "TEST": {"NAME": "test.sqlite"},
}}
""",
    "shop/urls.py": """
from django.urls import path
from orders import views

urlpatterns = [path("orders", views.create)]
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    documented = {name: text for text, name in FILE.findall(PAGE.read_text())}
    for name, text in (FILES | documented).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(project: Path, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project), "JTASK_URL": "memory://"} | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_tests_of_the_documented_project_pass(project: Path) -> None:
    done = run(project, "-m", "django", "test", DJANGO_SETTINGS_MODULE="shop.settings")
    assert done.returncode == 0, done.stderr
    assert "Ran 3 tests" in done.stderr


BARE = """
import orders.tasks
from django.db import connection
from jtask.testing import run_worker

connection.ensure_connection()
with run_worker(orders.tasks.bill):
    try:
        orders.tasks.bill.delay(1).result(timeout=30)
    except Exception as error:
        print(error)
"""


def test_the_documented_tasks_are_imported_where_nothing_has_set_django_up(project: Path) -> None:
    done = run(project, "-c", BARE)
    assert "no such table: orders_order" in done.stdout, done.stderr
