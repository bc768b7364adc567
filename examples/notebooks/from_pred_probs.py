# %% [markdown]
# # Probabilities from elsewhere
#
# You trained a model with another tool. Its cross-validated probabilities are enough to judge the labels.

# %%
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from codivide import audit, noise_report, score_labels

X, truth = load_digits(return_X_y=True)
generator = np.random.default_rng(0)
given = np.where(generator.random(len(truth)) < 0.2, generator.integers(0, 10, len(truth)), truth)
wrong = given != truth
probs = cross_val_predict(LogisticRegression(C=0.1, max_iter=200), X / 16, given, method="predict_proba")

# %%
found = audit.from_probs(given, probs, features=X)
flagged = found.label_issues["id"].to_numpy()
print(f"{wrong.sum()} labels are wrong; of the {len(flagged)} that look wrong, {100 * wrong[flagged].mean():.1f} % are")
print(found.label_issues[["id", "given", "suggested"]].head(3).to_string(index=False))

# %% [markdown]
# How many are wrong, and any other score by name.

# %%
report = noise_report(None, given, pred_probs=probs)
print(f"estimated {100 * report.rate:.1f} %, really {100 * wrong.mean():.1f} %; trust: {report.trust.level}")
scores = score_labels("self_confidence", given, pred_probs=probs)
print(f"mean score of right labels {scores[~wrong].mean():.2f}, of wrong ones {scores[wrong].mean():.2f}")
