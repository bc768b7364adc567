# %% [markdown]
# # Texts with doubtful labels
#
# Short reviews, 15 % of them with the wrong label.

# %%
import numpy as np

from codivide import NoisyLabelClassifier, noise_report

generator = np.random.default_rng(0)
good = [
    "works as it should",
    "arrived early",
    "my children love it",
    "still like new",
    "worth every penny",
    "fits well",
]
bad = ["broke after a week", "arrived late", "smells of plastic", "came without a cable", "far too loud", "fell apart"]
things = ["The lamp", "This kettle", "The toy train", "My new chair", "The second radio", "That clock", "The red shoes"]
ends = [
    "and the colour is fine",
    "as I told my sister",
    "for what it cost",
    "so much for that",
    "once more",
    "I wrote to them",
]
truth = generator.integers(0, 2, 500)
texts = [
    f"{generator.choice(things)} {generator.choice((bad, good)[kind])} {generator.choice(ends)} {generator.choice(ends)}"
    for kind in truth
]
names = np.array(["complaint", "praise"])
given = names[np.where(generator.random(500) < 0.15, 1 - truth, truth)]

# %% [markdown]
# Texts go in as they are.

# %%
clf = NoisyLabelClassifier().fit(texts, given)
wrong = given != names[truth]
print(f"{wrong.sum()} labels are wrong, {len(clf.label_issues_)} look wrong")
print(clf.label_issues_[["given", "suggested", "text"]].head(3).to_string(index=False))

# %% [markdown]
# How many are wrong, and how far to trust that?

# %%
report = noise_report(clf)
print(
    f"estimated {100 * report.rate:.1f} % ({100 * report.low:.1f} % to {100 * report.high:.1f} %), really {100 * wrong.mean():.1f} %; trust: {report.trust.level}"
)

# %%
print(clf.predict(["This lamp broke after a week", "The kettle fits well and was worth every penny"]))
