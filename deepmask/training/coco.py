"""Photographs with instance masks: COCO-format JSON beside tar shards, held in memory encoded."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """One encoded picture and its labels."""

    id: int
    encoded: bytes
    height: int
    width: int
    exhaustive: bool
    """Every object of it is labelled."""
    annotations: tuple[dict[str, Any], ...]

    def image(self) -> NDArray[np.uint8]:
        """`(H, W, 3)` uint8 RGB."""
        try:
            return decode_image(self.encoded)
        except ValueError as error:
            raise ValueError(f"the picture with id {self.id}: {error}") from error

    def mask(self, i: int) -> NDArray[np.uint8]:
        """Annotation `i` as `(H, W)` uint8, 0 or 1."""
        rle = self.annotations[i]["segmentation"]
        return np.asarray(coco_mask.decode(rle), np.uint8)


def decode_image(encoded: bytes) -> NDArray[np.uint8]:
    """An encoded picture as `(H, W, 3)` uint8 RGB.

    Raises:
        ValueError: OpenCV cannot read it.
    """
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("not a picture that OpenCV can read")
    return np.ascontiguousarray(image[:, :, ::-1])


def load_photographs(annotations: Path, images: Iterable[Path]) -> list[Photograph]:
    """Read a COCO instances file and the pictures it names.

    Args:
        annotations: the JSON file.
        images: tar files or folders that hold the pictures.

    Raises:
        FileNotFoundError: a file is missing, or a picture is in none of `images`; the message
            names it.
        ValueError: `annotations` is not such a file, or one of `images` no tar.
    """
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        records, rows = content["images"], content["annotations"]
        sizes = {record["id"]: (record["height"], record["width"]) for record in records}
        names = {record["id"]: record["file_name"] for record in records}
        labels: dict[int, list[dict[str, Any]]] = {number: [] for number in sizes}
        for row in rows:
            segmentation = _rle(row["segmentation"], *sizes[row["image_id"]])
            labels[row["image_id"]].append({**row, "segmentation": segmentation})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{annotations}: expected COCO instances, JSON with 'images' and 'annotations' that "
            f"have masks; {type(error).__name__}: {error}"
        ) from error
    files = _read_files(images)
    photographs = []
    for record in records:
        name = names[record["id"]]
        if name not in files:
            raise FileNotFoundError(
                f"{annotations.name} names the picture {name!r}, which is in none "
                f"of the {len(files)} files given: give every tar or folder of the set"
            )
        photographs.append(
            Photograph(
                record["id"],
                files[name],
                record["height"],
                record["width"],
                record.get("exhaustive", True),
                tuple(labels[record["id"]]),
            )
        )
    return photographs


def load_set(folder: Path, name: str) -> list[Photograph]:
    """The set `name`: `folder/name.json` with `folder/name-*.tar`, or the folder `folder/name`."""
    shards = sorted(folder.glob(f"{name}-[0-9]*.tar"))
    annotations = folder / f"{name}.json"
    if not annotations.is_file():
        known = sorted(path.stem for path in folder.glob("*.json"))
        raise FileNotFoundError(
            f"no set {name!r} in {folder}: there are {', '.join(known) or 'none'}"
        )
    return load_photographs(annotations, shards or [folder / name])


def _rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """A mask as compressed RLE, of COCO's polygons, plain RLE, or what it is already."""
    if isinstance(segmentation, list):
        return dict(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)))
    if isinstance(segmentation["counts"], list):
        return dict(coco_mask.frPyObjects(segmentation, height, width))
    return dict(segmentation)


def _read_files(places: Iterable[Path]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for place in places:
        if place.is_dir():
            files.update(
                {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
            )
            continue
        try:
            with tarfile.open(place) as archive:
                for member in archive:
                    handle = archive.extractfile(member)
                    if handle is not None:
                        files[Path(member.name).name] = handle.read()
        except tarfile.ReadError as error:
            raise ValueError(f"{place}: expected a tar file or a folder of pictures") from error
    return files
