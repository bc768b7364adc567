"""The route for features ``[N, D]``: heads that are fitted in seconds, cross-fitted, and what they say of labels."""
