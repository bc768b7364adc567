"""What annotation tools export, as tables: COCO, Label Studio and Argilla; and labels as these tools take them in.

Each is known by its keys. Where several people answered, there is a row an answer, with columns ``annotator`` and
``id``, as for any table of answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pandas as pd

from codivide.core.errors import InputError
from codivide.data import labels as of_labels

_LOCAL = "/data/local-files/"  # Label Studio's address of a file on its own machine


def read_export(found: Any, path: Path, said: list[str], *, several: bool = False) -> pd.DataFrame | None:
    """The table in what a tool exported as JSON; None where it is something else.

    Args:
        found: the JSON, parsed; of JSON lines a list of them.
        path: of the file, for messages and to see where images lie.
        said: gets a sentence on answers that do not count, and on those of machines that do.
        several: a sample has any number of labels, so that each label is a list.

    Raises:
        InputError: a sample with several labels where one is read, or parts that do not fit together; it names the
            sample.
    """
    if isinstance(found, dict) and {"images", "annotations", "categories"} <= found.keys():
        return _guarded(_coco, found, path, said, several=several)
    rows = found if isinstance(found, list) and found and all(isinstance(row, dict) for row in found) else []
    if rows and all("data" in row and ("annotations" in row or "predictions" in row) for row in rows):
        return _guarded(_label_studio, rows, path, said, several=several)
    if rows and all("fields" in row and ("responses" in row or "suggestions" in row) for row in rows):
        return _guarded(_argilla, rows, path, said, several=several)
    return None


def _one() -> str:
    return f"one label a sample is read; {of_labels.several()}"


def _guarded(
    read: Callable[..., pd.DataFrame], found: Any, path: Path, said: list[str], *, several: bool
) -> pd.DataFrame:
    """InputError for anything that is not as the tool writes it."""
    try:
        return read(found, path, said, several=several)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        name = read.__name__.strip("_").replace("_", " ")
        raise InputError(f"{path} looks like an export of {name}, but is damaged: {error!r}") from error


def _coco(found: Mapping[str, Any], path: Path, said: list[str], *, several: bool) -> pd.DataFrame:
    """Images with one category each, or with several; those without an annotation have no label."""
    names = {item["id"]: item["name"] for item in found["categories"]}
    held: dict[Any, set[Any]] = {item["id"]: set() for item in found["images"]}
    for item in found["annotations"]:
        if item["image_id"] not in held:
            raise InputError(f"{path}: an annotation is of image {item['image_id']!r}, which is not listed")
        if item["category_id"] not in names:
            raise InputError(f"{path}: an annotation has category {item['category_id']!r}, which is not listed")
        held[item["image_id"]].add(item["category_id"])
    files = {item["id"]: str(item["file_name"]) for item in found["images"]}
    more = [key for key, kinds in held.items() if len(kinds) > 1]
    if more and not several:
        kinds = ", ".join(sorted(str(names[kind]) for kind in held[more[0]]))
        raise InputError(
            f"{path}: {len(more):,} of {len(held):,} images have several categories, such as {files[more[0]]!r} "
            f"({kinds}); {_one()}. Cut the boxes out as images of their own, or keep images of one category"
        )
    there = [name for name in list(files.values())[:20] if (path.parent / name).exists()]
    below = "images/" if not there and (path.parent / "images").is_dir() else ""
    named = [
        sorted(str(names[kind]) for kind in kinds) if several else [names[kind] for kind in kinds]
        for kinds in held.values()
    ]
    labels = [(one if several else one[0]) if one else None for one in named]
    return pd.DataFrame({"path": [below + name for name in files.values()], "label": labels})


def _category(found: list[Any], *, several: bool) -> Any:
    """The only category, or all of them; None: there is none."""
    if not found:
        return None
    return [str(name) for name in found] if several else found[0]


def _label_studio(tasks: Sequence[Mapping[str, Any]], path: Path, said: list[str], *, several: bool) -> pd.DataFrame:
    """Tasks with a choice each, or several; without an annotation the first prediction counts, else there is none."""
    rows = []
    skipped = predicted = 0
    for task in tasks:
        data = {name: _local(value) for name, value in task["data"].items() if isinstance(value, str | int | float)}
        made = [one for one in task.get("annotations") or () if not one.get("was_cancelled")]
        skipped += len(task.get("annotations") or ()) - len(made)
        guesses = [] if made else list(task.get("predictions") or ())[:1]
        predicted += len(guesses)
        for one in made or guesses or [{}]:
            label = _choice(one.get("result") or (), f"{path}: task {task.get('id')!r}", several=several)
            rows.append((task.get("id"), data, _person(one.get("completed_by", "")), label))
    _say(said, skipped, "cancelled", predicted, "prediction")
    table = _answers(rows)
    images = [name for name in ("image", "img", "photo") if name in table]
    return table.rename(columns={images[0]: "path"}) if images else table


def _say(said: list[str], skipped: int, why: str, guessed: int, what: str) -> None:
    """What is said of answers of people that do not count, and of samples that have a machine's in their place."""
    if skipped:
        said.append(f"answers that do not count, since they are {why}: {skipped:,}")
    if guessed:
        said.append(f"samples without an answer of a person, whose label is the tool's {what}: {guessed:,}")


def _local(value: Any) -> Any:
    """The file of ``/data/local-files/?d=cats/1.jpg``; anything else as it is."""
    if isinstance(value, str) and value.startswith(_LOCAL):
        return parse_qs(urlparse(value).query).get("d", [value])[0]
    return value


def _choice(result: Sequence[Mapping[str, Any]], where: str, *, several: bool) -> str | list[str] | None:
    found = [choice for item in result if item.get("type") == "choices" for choice in item["value"]["choices"]]
    if several:
        return [str(choice) for choice in found] or None
    if len(set(found)) > 1:
        raise InputError(f"{where} has several choices ({', '.join(map(str, found[:5]))}); {_one()}")
    return str(found[0]) if found else None


def _person(value: Any) -> str:
    return str(value.get("email") or value.get("id")) if isinstance(value, dict) else str(value)


def _argilla(records: Sequence[Mapping[str, Any]], path: Path, said: list[str], *, several: bool) -> pd.DataFrame:
    """Records with one question, of one choice or of several; without a submitted response the suggestion counts."""
    asked = {name for row in records for part in ("responses", "suggestions") for name in row.get(part) or {}}
    if len(asked) > 1 and "label" not in asked:
        listed = ", ".join(sorted(map(str, asked)))
        raise InputError(f"{path} has several questions ({listed}); keep one, or call it 'label'")
    question = "label" if "label" in asked else next(iter(asked), "label")
    rows = []
    skipped = suggested = 0
    for number, record in enumerate(records):
        key = record.get("id", number)
        responses = (record.get("responses") or {}).get(question) or []
        counted = [one for one in responses if one.get("status", "submitted") == "submitted"]
        made = [(_person(one.get("user_id", "")), one["value"]) for one in counted]
        suggestion = (record.get("suggestions") or {}).get(question) or {}
        skipped += len(responses) - len(made)
        suggested += not made and suggestion.get("value") is not None
        for person, value in made or [("", suggestion.get("value"))]:
            if isinstance(value, dict) or (isinstance(value, list) and not several):
                raise InputError(f"{path}: record {key!r} has the answer {value!r}; {_one()}")
            rows.append((key, dict(record["fields"]), person, value))
    _say(said, skipped, "drafts or discarded", suggested, "suggestion")
    return _answers(rows)


def _answers(rows: Sequence[tuple[Any, Mapping[str, Any], str, Any]]) -> pd.DataFrame:
    """Id, data, annotator and label of each answer; without the annotators where every sample has one answer."""
    table = pd.DataFrame([dict(data) for _, data, _, _ in rows])
    table["label"] = [label for *_, label in rows]
    keys = [key for key, *_ in rows]
    if any(key is None for key in keys):
        return table
    several = len({str(key) for key in keys}) < len(keys)
    table["id"] = [str(key) for key in keys]
    return table.assign(annotator=[person for _, _, person, _ in rows]) if several else table


def label_studio(data: Sequence[Mapping[str, Any]], labels: Sequence[Any]) -> list[dict[str, Any]]:
    """Tasks that Label Studio imports.

    Args:
        data: what each task shows, by name; "image" or "text" is what the label is of, else the first name.
        labels: of each a class, a list of several, or a number (float); None: none yet.
    """
    names = dict.fromkeys(name for item in data for name in item)
    kind = next((name for name in ("image", "text") if name in names), next(iter(names), "text"))
    tasks = []
    for item, label in zip(data, labels, strict=True):
        about = {"from_name": "label", "to_name": kind}
        if isinstance(label, float):
            result = [{**about, "type": "number", "value": {"number": label}}]
        else:
            chosen = [str(name) for name in (label if isinstance(label, list) else [label])]
            result = [{**about, "type": "choices", "value": {"choices": chosen}}] if chosen else []  # it has none
        tasks.append({"data": dict(item), "annotations": [] if label is None else [{"result": result}]})
    return tasks


def coco(files: Sequence[str], labels: Sequence[Any]) -> dict[str, Any]:
    """Images with their categories, without boxes, in the form of COCO.

    Args:
        files: the path of each image.
        labels: of each a class, or a list of several; None: no annotation.
    """
    named = [[] if label is None else label if isinstance(label, list) else [label] for label in labels]
    numbers = {name: number for number, name in enumerate(sorted({str(name) for one in named for name in one}), 1)}
    pairs = [(image, numbers[str(name)]) for image, one in enumerate(named, 1) for name in one]
    return {
        "images": [{"id": number, "file_name": file} for number, file in enumerate(files, 1)],
        "annotations": [
            {"id": number, "image_id": image, "category_id": kind} for number, (image, kind) in enumerate(pairs, 1)
        ],
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    }


def argilla(data: Sequence[Mapping[str, Any]], labels: Sequence[Any], ids: Sequence[Any]) -> list[dict[str, Any]]:
    """Records that Argilla reads (``Dataset.records.from_json``), with the label as the suggestion to a question.

    A label that is a list is one of several choices; there is no suggestion of an empty one, as Argilla takes none.
    """
    return [
        {
            "id": str(key),
            "fields": {name: str(value) for name, value in item.items()},
            "suggestions": {"label": {"value": _suggestion(label), "agent": "codivide"}}
            if label not in (None, [])
            else {},
            "responses": {},
        }
        for item, label, key in zip(data, labels, ids, strict=True)
    ]


def _suggestion(label: Any) -> Any:
    return [str(name) for name in label] if isinstance(label, list) else str(label)
