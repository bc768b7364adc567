"""Experiments: recipes as rows of data, and the runner that shares them among processes."""
