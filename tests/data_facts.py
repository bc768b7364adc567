"""Facts of a label audit as ``codivide.audit.facts.collect`` makes them, made up without a run."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
HOSTILE = [
    "<script>window.hacked=1</script>",
    '"><img src=x onerror=window.hacked=1>',
    "</script><script>window.hacked=1</script>",
    "'; window.hacked=1; //",
    '=HYPERLINK("http://example.com","x")',
    "@SUM(1+1)",
    "\u202egnp.exe\u202c \u2066bidi\u2069",
    "line\nbreak\r\ttab \u2028 \u2029 and \x00",
    "../../etc/passwd",
    "x" * 10_000,
]


def thumbnail(red: int, green: int, blue: int, side: int = 32) -> str:
    """A square of one colour as a PNG data URI (the real ones are WebP; a page must not care)."""
    pixels = b"".join(b"\0" + bytes((red, green, blue)) * side for _ in range(side))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def _tested(name: str, classes: list[str], k: int, leaked: bool) -> dict[str, Any]:
    """A sample of the test part; the fifth has no label."""
    given = None if k == 4 else classes[k % len(classes)]
    suggested = classes[(k + 1) % len(classes)]
    known = {"id": name, "given": given, "suggested": suggested, "twin": f"train/{name}" if leaked else None}
    return known | {"clean_prob": None if k == 4 else 0.1 * k, "leaked": leaked}


def example_facts(issues: int = 40, kind: str = "image", hostile: bool = False) -> dict[str, Any]:
    """Facts of a made-up run of 25 samples an issue.

    Args:
        issues: in the queue.
        kind: of the samples: "image", "text" or "row".
        hostile: class names, paths, texts and annotators that try to run scripts, to start formulas and to escape.
    """
    classes = list(HOSTILE) if hostile else list(CLASSES)
    count = len(classes)
    samples = 25 * issues
    squares = [thumbnail(25 * k, 255 - 25 * k, (90 * k) % 256) for k in range(count)] if kind == "image" else []

    def name(row: int) -> str:
        if hostile:
            return f"{HOSTILE[row % len(HOSTILE)]}{row}"
        return str(row) if kind == "row" else f"{CLASSES[row % count]}/{row:06d}.png"

    def text(row: int) -> str | None:
        if kind != "text":
            return None
        return HOSTILE[row % len(HOSTILE)] if hostile else f"Headline number {row}: what the town council said of it."

    def example(label: int) -> str:
        return squares[label] if squares else text(label) or f"width {label}.5, height 2.25"

    queue = []
    for i in range(issues):
        given, suggested = i % count, (i + 1 + i // count % (count - 1)) % count
        fields = [["width", 0.5 * i], ["height", -1.25], [HOSTILE[0] if hostile else "colour", None]]
        queue.append(
            {
                "row": 7 * i,
                "id": name(7 * i),
                "kind": kind,
                "given": given,
                "suggested": suggested,
                "clean_prob": round(0.6 * (i + 1) / (issues + 1), 4),
                "suggested_prob": None if i % 10 == 9 else round(0.99 - 0.4 * i / issues, 4),
                "rank": i + 1,
                "thumbnail": squares[suggested] if squares else None,
                "text": text(i),
                "fields": fields if kind == "row" else None,
                "range": None,
                "neighbours": None if i % 7 == 6 else {"agree": i % 4, "of": 10},
                "examples": {
                    "given": [example(given)] * (3 - i % 2),
                    "suggested": [] if i % 5 == 4 else [example(suggested)] * 3,
                },
            }
        )
    confusion = [[samples // count if g == s else 0 for s in range(count)] for g in range(count)]
    for issue in queue:
        confusion[issue["given"]][issue["suggested"]] += 1
        confusion[issue["given"]][issue["given"]] -= 1
    pairs = [
        {"given": g, "suggested": s, "count": confusion[g][s]}
        for g in range(count)
        for s in range(count)
        if g != s and confusion[g][s]
    ]
    counts = [sum(row) for row in confusion]
    suggested_counts = [sum(row[s] for row in confusion) for s in range(count)]
    bins = [max(0, 100 - 9 * b) + (40 - abs(b - 30) * 3 if 20 < b < 40 else 0) for b in range(50)]
    return {
        "format": 1,
        "name": HOSTILE[0] if hostile else "made-up",
        "created": "2025-01-02T03:04:05+00:00",
        "version": "0.1.0",
        "method": "dividemix",
        "samples": samples + 5,
        "labelled": samples,
        "unlabelled": 5,
        "classes": classes,
        "noise": {
            "rate": 0.04,
            "low": 0.03,
            "high": 0.055,
            "certain": 0.03,
            "kind": "symmetric",
            "per_class": [
                {"class": k, "name": name, "labelled": counts[k], "rate": None if k == count - 1 else 0.01 * k}
                for k, name in enumerate(classes)
            ],
            "trust": {"level": "fair", "reasons": ["truck has 12 labelled samples only"]},
        },
        "pairs": sorted(pairs, key=lambda pair: -pair["count"]),
        "confusion": confusion,
        "imbalance": {
            "counts": counts,
            "suggested_counts": suggested_counts,
            "ratio": max(counts) / max(1, min(counts)),
        },
        "issues": queue,
        "issues_total": issues + 3,
        "counts": {"Duplicates": 4, "Outliers": 2},
        "targets": None,
        "losses": {
            "edges": [0.1 * b for b in range(51)],
            "counts": bins,
            "mixture": {"weight": [0.8, 0.2], "mean": [0.4, 3.0], "variance": [0.2, 0.5]},
        },
        "curves": [
            {"epoch": e, "loss": 2.0 / e, "lr": 0.02, "test_accuracy": 0.9 - 0.5 / e, "given_agreement": 1 - 0.7 / e}
            for e in range(1, 31)
        ],
        "duplicates": [
            {"rows": [3, 10], "ids": [name(3), name(10)], "labels": [3, 0], "exact": True},
            {"rows": [4, 14, 24], "ids": [name(4), name(14), name(24)], "labels": [4, 4, 4], "exact": False},
        ],
        "outliers": [
            {
                "row": 11 + k,
                "id": name(11 + k),
                "given": (11 + k) % count,
                "suggested": (11 + k) % count,
                "clean_prob": 0.9,
                "suggested_prob": 0.4,
                "score": round(0.99 - 0.1 * k, 2),
                "thumbnail": squares[(3 * k) % count] if squares else None,
                "text": text(k),
                "fields": [["width", float(k)], [HOSTILE[0] if hostile else "colour", 0.5]] if kind == "row" else None,
            }
            for k in range(5)
        ],
        "checks": [],
        "remarks": [],
        "findings": [
            {
                "check": "non_iid",
                "title": "Order",
                "text": HOSTILE[0] if hostile else "labels follow the order of the rows",
            }
        ],
        "test": {
            "samples": 40,
            "labelled": 39,
            "leaked": 2,
            "leaked_training_samples": 1,
            "issues_total": 3,
            "issues": [_tested(name(k), classes, k, k == 1) for k in range(3)],
            "leaks": [_tested(name(k), classes, k, True) for k in (1, 4)],
        },
        "columns": [
            {"name": HOSTILE[0] if hostile else "key", "kind": None, "reason": "one value only"},
            {"name": "age", "kind": "number", "features": 2, "empty": 3, "note": HOSTILE[1] if hostile else None},
        ],
        "annotators": [
            {"name": HOSTILE[1] if hostile else "anna", "labels": 400, "quality": 0.93, "copies": []},
            {"name": "ben", "labels": 120, "quality": 0.61, "copies": [HOSTILE[3] if hostile else "cem"]},
            {"name": "cem", "labels": 0, "copies": ["ben"]},
        ],
        "choices": ["estimated noise 38 % (30 % to 45 %), asymmetric; trust in this: good"],
        "skipped": [{"path": name(99), "reason": HOSTILE[2] if hostile else "truncated file"}],
    }
