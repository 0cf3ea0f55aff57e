"""The C library of mistakes, compiled once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .zoo import LIBRARY


@pytest.fixture(scope="session", autouse=True)
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    made = tmp_path_factory.mktemp("hostile") / "hostile.so"
    source = Path(__file__).with_name("hostile.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-w", str(source), "-o", str(made), "-lm", "-lpthread"], check=True)
    os.environ[LIBRARY] = str(made)
    yield
    del os.environ[LIBRARY]
