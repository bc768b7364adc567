"""Processes that are forked from the tests' own, which has imported all that they need."""

import os
import sys

import pytest

if hasattr(os, "fork"):
    from tests.faults import children
else:
    children = None

forked = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
