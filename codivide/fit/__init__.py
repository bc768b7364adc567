"""From data to a judged and trained run: the estimator, the job, and the automatic choice."""
