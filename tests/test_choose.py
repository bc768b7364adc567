"""The automatic choice: the rule as a table of cases, the comparison, and whole runs on toy data."""
