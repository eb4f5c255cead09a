"""Photographs with instance masks: COCO-format JSON beside tar shards, held in memory encoded."""

from __future__ import annotations

import dataclasses
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
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
        """`(H, W, 3)` uint8 RGB, turned as EXIF says only if it has the right size so.

        Raises:
            ValueError: it cannot be read, or has another size than its labels.
        """
        size = (self.height, self.width)
        try:
            image = decode_image(self.encoded, turned=False)
            if image.shape[:2] != size:
                image = decode_image(self.encoded)
        except ValueError as error:
            raise ValueError(f"the picture with id {self.id}: {error}") from error
        if image.shape[:2] != size:
            raise ValueError(
                f"the picture with id {self.id} is {image.shape[1]}x{image.shape[0]}, its labels "
                f"are for {self.width}x{self.height}: give the pictures that were labelled"
            )
        return image

    def mask(self, i: int) -> NDArray[np.uint8]:
        """Annotation `i` as `(H, W)` uint8, 0 or 1."""
        rle = self.annotations[i]["segmentation"]
        return np.asarray(coco_mask.decode(rle), np.uint8)


def decode_image(encoded: bytes, turned: bool = True) -> NDArray[np.uint8]:
    """An encoded picture as `(H, W, 3)` uint8 RGB.

    Args:
        encoded: the file.
        turned: as its EXIF data say.

    Raises:
        ValueError: OpenCV cannot read it.
    """
    how = cv2.IMREAD_COLOR | (0 if turned else cv2.IMREAD_IGNORE_ORIENTATION)
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), how)
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
            labels[row["image_id"]].append(_labelled(row, *sizes[row["image_id"]]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{annotations}: expected COCO instances, JSON with 'images' and 'annotations' that "
            f"have masks; {type(error).__name__}: {error}"
        ) from error
    files = _read_files(images, {PurePosixPath(name).name for name in names.values()})
    photographs = []
    for record in records:
        name = names[record["id"]]
        found = files.get(name, files.get(PurePosixPath(name).name))
        if found is None:
            raise FileNotFoundError(
                f"{annotations.name} names the picture {name!r}, which is in none "
                "of the tars and folders given: give every one of the set"
            )
        photographs.append(
            Photograph(
                record["id"],
                found,
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


def _labelled(row: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """An annotation with its mask as RLE, and with area and box where it has none."""
    rle = _rle(row["segmentation"], height, width)
    if rle is None:
        raise ValueError(f"annotation {row.get('id')} has no mask of {width}x{height}")
    area, box = float(coco_mask.area(rle)), coco_mask.toBbox(rle).tolist()
    return {"area": area, "bbox": box} | row | {"segmentation": rle}


def _rle(segmentation: Any, height: int, width: int) -> dict[str, Any] | None:
    """A mask as compressed RLE, of COCO's polygons, plain RLE, or what it is already.

    None where it is empty, or of another size.
    """
    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
        if not polygons:
            return None
        return dict(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))
    if list(segmentation["size"]) != [height, width]:
        return None
    if not isinstance(segmentation["counts"], list):
        return dict(segmentation)
    if sum(segmentation["counts"]) != height * width:
        return None
    return dict(coco_mask.frPyObjects(segmentation, height, width))


def _read_files(places: Iterable[Path], wanted: set[str]) -> dict[str, bytes]:
    """The files of these names, by their paths; by name, too, where that is the only one."""
    files: dict[str, bytes] = {}
    for place in places:
        if place.is_dir():
            files.update(
                {
                    path.relative_to(place).as_posix(): path.read_bytes()
                    for path in place.rglob("*")
                    if path.name in wanted and path.is_file()
                }
            )
            continue
        try:
            with tarfile.open(place) as archive:
                for member in archive:
                    path = PurePosixPath(member.name)
                    handle = archive.extractfile(member) if path.name in wanted else None
                    if handle is not None:
                        files[str(path)] = handle.read()
        except (tarfile.TarError, EOFError, KeyError, zlib.error) as error:
            raise ValueError(
                f"{place}: expected a tar file or a folder of pictures; this is none, or is "
                f"damaged ({error})"
            ) from error
    by_name = Counter(PurePosixPath(path).name for path in files)
    short = {PurePosixPath(path).name: data for path, data in files.items()}
    return {name: data for name, data in short.items() if by_name[name] == 1} | files
