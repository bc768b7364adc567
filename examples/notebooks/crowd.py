# %% [markdown]
# # Several annotators
#
# Five people label flowers; each sees about half of them. One of the five guesses.

# %%
import numpy as np
from sklearn.datasets import load_iris

from codivide import NoisyLabelClassifier, consensus

generator = np.random.default_rng(0)
X, target = load_iris(return_X_y=True)
names = np.array(["setosa", "versicolor", "virginica"])
answers = np.full((len(target), 5), None, dtype=object)
for person, skill in enumerate([0.95, 0.85, 0.8, 0.7, 0.0]):
    says = np.where(generator.random(len(target)) < skill, target, generator.integers(0, 3, len(target)))
    asked = generator.random(len(target)) < 0.5
    answers[asked, person] = names[says[asked]]
asked = np.array([any(answer is not None for answer in row) for row in answers])
truth = names[target]

# %% [markdown]
# The consensus of the answers alone, and who can be believed.

# %%
agreed = consensus(answers)
right = np.array([str(label) for label in agreed.labels]) == truth
print(f"consensus right: {100 * right[asked].mean():.1f} %")

# %% [markdown]
# With a classifier, which also sees the flowers.

# %%
clf = NoisyLabelClassifier("features").fit(X, answers)
print(f"suggestions right: {100 * (clf.suggested_labels_ == truth).mean():.1f} %")
print(clf.annotator_quality_.round(2).to_string(index=False))
