# %% [markdown]
# # A table with doubtful labels
#
# Numbers, a category and empty cells; 15 % of the diagnoses are spoiled.

# %%
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from codivide import NoisyLabelClassifier

generator = np.random.default_rng(0)
data = load_breast_cancer(as_frame=True)
table = data.data[["mean radius", "mean texture", "mean smoothness", "worst area", "worst concavity"]].copy()
table["ward"] = generator.choice(["north", "south"], len(table))
table.loc[generator.random(len(table)) < 0.05, "mean texture"] = np.nan
names = np.array(["malignant", "benign"])
truth = names[data.target]
wrong = generator.random(len(table)) < 0.15
given = np.where(wrong, names[1 - data.target], truth)

# %% [markdown]
# The data frame goes in as it is.

# %%
clf = NoisyLabelClassifier().fit(table, given)
flagged = clf.label_issues_["id"].to_numpy()
print(f"{wrong.sum()} labels are wrong; of the {len(flagged)} that look wrong, {100 * wrong[flagged].mean():.0f} % are")
print(
    f"labels right: {100 * (given == truth).mean():.1f} %; suggestions right: {100 * (clf.suggested_labels_ == truth).mean():.1f} %"
)

# %% [markdown]
# The same with a model of your own.

# %%
model = make_pipeline(StandardScaler(), LogisticRegression())
numbers = table.drop(columns="ward").fillna(table["mean texture"].median())
own = NoisyLabelClassifier(model=model).fit(numbers, given)
print(f"with logistic regression, suggestions right: {100 * (own.suggested_labels_ == truth).mean():.1f} %")
