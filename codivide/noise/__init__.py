"""Judging labels: mixtures, selections, rules, rates, reports and synthetic noise, on arrays alone."""
