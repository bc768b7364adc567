"""Faults that are really made: kills, full disks, damaged files, signals, surroundings: ``python -m tests.faults``."""
