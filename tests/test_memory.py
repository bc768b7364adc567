"""What is done where a process may take only so much memory."""

import errno
import os
import resource

import pytest

from codivide.core import memory


def limit(monkeypatch, size):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (size, size))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # what is set goes with the test


def test_nothing_is_asked_for_where_memory_is_not_limited(monkeypatch):
    limit(monkeypatch, resource.RLIM_INFINITY)
    monkeypatch.setattr(memory, "_ask_for", lambda size: pytest.fail(f"asked for {size}"))
    memory.settle()


def test_a_limit_that_leaves_too_little_is_an_error_before_anything_is_begun(monkeypatch):
    limit(monkeypatch, 1 << 30)
    asked = []
    monkeypatch.setattr(memory, "_ask_for", asked.append)
    memory.settle()
    assert len(asked) == 2  # to begin with; for the buffers of both libraries
    assert asked[0] == memory.LEAST
    monkeypatch.undo()
    limit(monkeypatch, 1 << 30)
    monkeypatch.setattr(memory, "LEAST", 1 << 60)
    with pytest.raises(MemoryError, match="leaves less than"):
        memory.settle()


@pytest.mark.parametrize(
    ("size", "words", "threads"),
    [(3 << 30, None, "1"), (3 << 30, "2", "2"), (64 << 30, None, None), (resource.RLIM_INFINITY, None, None)],
)
def test_with_little_memory_one_thread_is_taken_and_said(monkeypatch, size, words, threads):
    limit(monkeypatch, size)
    if words:
        monkeypatch.setenv("OMP_NUM_THREADS", words)
    else:
        monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(memory, "_ask_for", lambda size: None)
    said = memory.settle()
    assert os.environ.get("OMP_NUM_THREADS") == threads
    assert (said is not None) == (threads == "1")
    assert said is None or said.startswith("memory is limited to 3.0 GB, so one thread is taken")


def led_to(error):
    try:
        try:
            raise error
        except type(error) as cause:
            raise ImportError("a library cannot be imported") from cause
    except ImportError as found:
        return found


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_what_libraries_raise_without_memory_is_known_as_that(error):
    assert memory.short_of(error)
    assert memory.short_of(led_to(error))


def test_other_errors_are_not(monkeypatch):
    limit(monkeypatch, resource.RLIM_INFINITY)
    assert not memory.short_of(led_to(ValueError("no number")))
    primitive = RuntimeError("could not create a primitive")
    assert not memory.short_of(primitive)
    limit(monkeypatch, 1 << 30)
    assert memory.short_of(primitive)
