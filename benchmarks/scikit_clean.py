"""scikit-clean on one case, in an environment of its own: its last version does not load with scikit-learn of today.

    python3 -m venv ENV && ENV/bin/pip install scikit-clean 'scikit-learn==1.2.2' 'numpy<2' 'pandas<2.2'
    ENV/bin/python benchmarks/scikit_clean.py CASE.npz SEED     # prints one JSON object

``benchmarks/tables.py --scikit-clean ENV/bin/python`` writes ``x``, ``given`` and ``x_test``. Detectors with their
default settings; labels with a confidence of at most 1/2 are left out, as its ``Filter`` has it, and the forest of the
other contestants is fitted to the rest.
"""

import json
import sys
import time
import warnings

import numpy as np
import sklearn
from skclean.detectors import KDN, InstanceHardness, RandomForestDetector
from sklearn.ensemble import ExtraTreesClassifier


def main() -> None:
    warnings.simplefilter("ignore")
    case, seed = np.load(sys.argv[1]), int(sys.argv[2])
    x, given, x_test = case["x"].astype(np.float64), case["given"], case["x_test"].astype(np.float64)
    detectors = {
        "neighbours": KDN(),
        "forest detector": RandomForestDetector(random_state=seed),
        "instance hardness": InstanceHardness(random_state=seed),
    }
    found = {}
    for name, detector in detectors.items():
        began = time.process_time()
        confidence = detector.detect(x, given)
        kept = confidence > 0.5
        model = ExtraTreesClassifier(100, min_samples_leaf=3, random_state=seed, n_jobs=1).fit(x[kept], given[kept])
        predicted = model.predict(x_test)
        seconds = time.process_time() - began
        found[name] = {"confidence": confidence.tolist(), "predicted": predicted.tolist(), "seconds": seconds}
    print(json.dumps({"scikit-learn": sklearn.__version__, "found": found}))


if __name__ == "__main__":
    main()
