# %% [markdown]
# # Photos in the wrong folder
#
# Small pictures of three shapes stand in for photos, one sub-folder a class. 20 % lie in the wrong folder.

# %%
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from codivide import NoisyLabelClassifier

SHAPES = ("circle", "square", "triangle")
generator = np.random.default_rng(0)
folder = Path(tempfile.mkdtemp()) / "photos"
truth = {}
for number in range(150):
    kind = number % 3
    image = Image.new("RGB", (64, 64), tuple(generator.integers(0, 120, 3).tolist()))
    draw = ImageDraw.Draw(image)
    left, top, size = (*generator.integers(4, 24, 2).tolist(), int(generator.integers(28, 36)))
    colour = tuple(generator.integers(140, 255, 3).tolist())
    box = (left, top, left + size, top + size)
    if kind == 0:
        draw.ellipse(box, fill=colour)
    elif kind == 1:
        draw.rectangle(box, fill=colour)
    else:
        draw.polygon([(left, top + size), (left + size, top + size), (left + size // 2, top)], fill=colour)
    given = int(generator.integers(0, 3)) if generator.random() < 0.3 else kind
    path = folder / SHAPES[given] / f"{number:03d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    truth[f"{SHAPES[given]}/{path.name}"] = SHAPES[kind]

# %% [markdown]
# One call. Photos become numbers by an encoder that comes with codivide; each label is judged by models that have not seen it.

# %%
clf = NoisyLabelClassifier().fit(folder)
table = clf.labels_
wrong = np.array([given != truth[path] for path, given in zip(table["path"], table["given"], strict=True)])
print(f"{wrong.sum()} of {len(table)} photos lie in the wrong folder; {len(clf.label_issues_)} labels look wrong")
print(clf.label_issues_[["path", "given", "suggested"]].head(3).to_string(index=False))

# %% [markdown]
# How good is the list? True labels are known here, so it can be counted.

# %%
first = table["rank"].to_numpy() <= wrong.sum()
print(f"of the {wrong.sum()} most doubtful, wrong: {100 * wrong[first].mean():.0f} %")
suggested = np.array([truth[path] for path in table["path"]]) == table["suggested"].to_numpy()
print(f"labels right: {100 * (1 - wrong.mean()):.0f} %; suggestions right: {100 * suggested.mean():.0f} %")
