"""Training: the plan, the loop, the networks, losses, targets and mixing that methods are made of."""
