"""Golden files: the prints of every stage are kept as text beside the tests, and written anew with --update-golden.
Which tests may run beside each other (`make test`: pytest-xdist), and what `mpc.launch` starts in them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before NumPy is imported: tests keep all cores busy, and OpenBLAS's threads would look for work for a while
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A shell starts background jobs with SIGINT ignored, and every child inherits it: the tests of Ctrl-C need it back.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing")


PORTS = {"test_cli.py", "test_connect.py", "test_connect_training.py", "test_readme.py"}
"""Tests that look for free ports and then start servers there: between the two, none of the others may do the same."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay together, since they share its fixtures, and so do those that take ports."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("ports" if item.path.name in PORTS else str(item.path)))


@pytest.fixture(autouse=True, scope="session")
def launched_servers_are_forks() -> Iterator[None]:
    from tests.forked import servers_forked  # imports NumPy

    with servers_forked():
        yield


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)` compares text with the file `golden/name` beside the test."""

    def compare(name: str, text: str) -> None:
        path = Path(request.path).parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing: run pytest with --update-golden and read what it wrote"
        assert text == path.read_text(encoding="utf-8")

    return compare
