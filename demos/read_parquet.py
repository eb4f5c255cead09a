"""Read the tracks of one or many runs from a Parquet data set: how long was each object there?

    python -m pipeline.run --source demo --save parquet --output runs/demo
    python -m demos.read_parquet runs/demo/tracks.parquet

It takes DuckDB or pandas, whichever is installed (`pip install duckdb`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

QUERY = """
    SELECT source, id, max(time_s) - min(time_s) AS seconds, count(*) AS frames,
           avg(area_px) AS area_px, first(height) AS height, first(width) AS width,
           arg_max(rle, area_px) AS rle
    FROM read_parquet('{}/*/*.parquet', hive_partitioning = true)
    WHERE state = 'tracked'
    GROUP BY source, id ORDER BY seconds DESC, source, id LIMIT 10
"""


def with_duckdb(folder: Path) -> list[dict[str, Any]]:
    """The ten objects that were seen longest, by SQL."""
    import duckdb

    found = duckdb.execute(QUERY.format(str(folder).replace("'", "''")))
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def with_pandas(folder: Path) -> list[dict[str, Any]]:
    """The same by pandas."""
    import pandas as pd

    table = pd.read_parquet(folder)
    groups = table[table.state == "tracked"].groupby(["source", "id"], observed=True)
    records = []
    for (source, number), rows in groups:
        largest = rows.loc[rows.area_px.idxmax()] if rows.area_px.notna().any() else rows.iloc[0]
        seconds = rows.time_s.max() - rows.time_s.min()
        record = {"source": source, "id": number, "seconds": seconds, "frames": len(rows)}
        size = {"height": largest.height, "width": largest.width, "rle": largest.rle}
        records.append(record | {"area_px": rows.area_px.mean()} | size)
    return sorted(records, key=lambda row: (-row["seconds"], row["source"], row["id"]))[:10]


def main() -> None:
    """Print a line for each object, and where its largest mask lies."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo/tracks.parquet")
    if not any(folder.glob("*/*.parquet")):
        sys.exit(f"no such data set: {str(folder)!r}; make one with --save parquet")
    for reader in (with_duckdb, with_pandas):
        try:
            records = reader(folder)
        except ImportError:
            continue
        break
    else:
        print("skipped: neither DuckDB nor pandas is installed (pip install duckdb)")
        return
    print(f"read by {reader.__name__.removeprefix('with_')}")
    for row in records:
        print(
            f"{row['source']} #{row['id']}: {row['seconds']:.2f} s, {row['frames']} frames", end=""
        )
        if row["rle"] is None:
            print()
            continue
        mask = {"size": [int(row["height"]), int(row["width"])], "counts": row["rle"]}
        x, y, width, height = coco_mask.toBbox(mask)
        print(f", {row['area_px']:.0f} px, at most {width:.0f}x{height:.0f} at {x:.0f},{y:.0f}")


if __name__ == "__main__":
    main()
