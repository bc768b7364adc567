"""Shared by all tests: where the real data are, and one thread a worker."""

import gc
import itertools
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # before anything loads OpenMP: threads of several workers wait actively
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

gc.disable()  # until the tests are collected
# A deadline in wall time fails on a busy machine, whatever the code does.
settings.register_profile("codivide", deadline=None)
settings.load_profile("codivide")
for name, usual in (("SIGHUP", signal.SIG_DFL), ("SIGINT", signal.default_int_handler)):
    number = getattr(signal, name, None)  # Windows has no SIGHUP
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:  # as under nohup; tests of signals send them
        signal.signal(number, usual)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What was imported and collected lasts to the end: no search for garbage looks through it, now or later."""
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items):
    """Tests of a CUDA device need one."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def data_root() -> Path:
    """The unpacked public data sets; skips without them, unless CI says that they must be there."""
    root = os.environ.get("CODIVIDE_DATA")
    if root and Path(root).is_dir():
        return Path(root)
    if os.environ.get("CODIVIDE_DATA_REQUIRED"):
        raise RuntimeError(f"CODIVIDE_DATA={root} is no folder, and tests on real data must run here")
    pytest.skip("CODIVIDE_DATA is not set")


@pytest.fixture(scope="session")
def _caches(tmp_path_factory):
    """A path for the cache of each test, where nothing is yet: making a folder for it looks through all there are."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_cache(_caches, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("CODIVIDE_CACHE", str(next(_caches)))


@pytest.fixture(autouse=True)
def _same_numbers():
    """A test draws the same numbers whatever ran before it on the same worker."""
    seeded = torch if torch.cuda.is_available() else torch.default_generator
    seeded.manual_seed(0)  # torch's own notes where it was called from, for GPUs: half a millisecond
