"""Writes a table as others read it: one tidy CSV or Parquet file, and Croissant metadata beside it.

    python -m benchmark.export published --out DIR
    python -m benchmark.export results/tables/NAME.csv --format parquet --out DIR

NAME.tidy.csv or NAME.tidy.parquet has one row per configuration, seed and epoch; NAME.croissant.json says in the
format of MLCommons (Croissant 1.0, JSON-LD) what each column holds.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark import cli, provenance
from benchmark.errors import UsageError
from benchmark.files import bounded, write_atomically
from benchmark.tables.arrays import Column, tidy
from benchmark.tables.files import load_table
from benchmark.tables.table import GroundTruth

FORMATS = {"csv": "text/csv", "parquet": "application/x-parquet"}
LICENSE = "https://www.apache.org/licenses/LICENSE-2.0"
CITATION = (
    "@article{javan2023balanced, title={Balanced Mixture of SuperNets for Learning the CNN Pooling Architecture}, "
    "author={Javan, Mehraveh and Toews, Matthew and Pedersoli, Marco}, year={2023}}"
)
_TYPES = {"text": "sc:Text", "whole": "sc:Integer", "number": "sc:Float"}
# The context that Croissant 1.0 asks for, https://docs.mlcommons.org/croissant/docs/croissant-spec.html
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def write(table: GroundTruth, folder: Path | str, form: str = "csv", license: str = LICENSE) -> tuple[Path, Path]:
    """Writes the tidy file and its metadata into a folder, which is made if needed: (data, Croissant).

    form: csv or parquet. Raises UsageError for another, and for parquet where pyarrow is not installed.
    """
    table.verify()
    columns = tidy(table)
    if form not in FORMATS:
        raise UsageError(f"unknown format '{form}': choose from {', '.join(FORMATS)}")
    data = _csv(columns) if form == "csv" else _parquet(columns)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = bounded(table.name)
    path, beside = folder / f"{name}.tidy.{form}", folder / f"{name}.croissant.json"
    about = croissant(table, columns, path.name, form, hashlib.sha256(data).hexdigest(), license)
    write_atomically(path, data)
    write_atomically(beside, (json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return path, beside


def _csv(columns: Sequence[Column]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    for row in zip(*(column.values for column in columns), strict=True):
        writer.writerow(["" if value is None else repr(value) if isinstance(value, float) else value for value in row])
    return out.getvalue().encode()


def _parquet(columns: Sequence[Column]) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UsageError("parquet needs pyarrow: pip install 'nas-bench-pooling[export]', or --format csv") from None
    types = {"text": pyarrow.string(), "whole": pyarrow.int64(), "number": pyarrow.float64()}
    arrays = {column.name: pyarrow.array(column.values, types[column.kind]) for column in columns}
    out = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(arrays), out)
    return out.getvalue().to_pybytes()


def croissant(
    table: GroundTruth, columns: Sequence[Column], file: str, form: str, sha256: str, license: str = LICENSE
) -> dict[str, Any]:
    """Croissant metadata of a tidy file, as a JSON-LD object. The date is that of the last run, where it is known."""
    header = table.header
    recipe = f"recipe {table.recipe_label}, hash {table.recipe_hash}" if table.recipe_hash else "recipe not stated"
    notes = "".join(f" {note}" for note in header.get("notes", ()))
    finished = (header.get("timings") or {}).get("finished")
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": table.name,
        "description": f"Test accuracies of {len(table.rows)} of the {len(table.space)} configurations of "
        f"{table.space.name} on {table.dataset} ({recipe}). Hash of the table's content: {table.sha256}. "
        f"Source: {header.get('source') or 'not said'}.{notes}",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "citeAs": CITATION,
        "license": license,
        "version": provenance.__version__,
        **({"datePublished": finished} if finished else {}),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file,
                "name": file,
                "contentUrl": file,
                "encodingFormat": FORMATS[form],
                "sha256": sha256,
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "accuracies",
                "name": "accuracies",
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": f"accuracies/{column.name}",
                        "name": column.name,
                        "description": column.about,
                        "dataType": _TYPES[column.kind],
                        "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
                    }
                    for column in columns
                ],
            }
        ],
    }


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m benchmark.export", description=__doc__)
    parser.add_argument("table", metavar="TABLE", help="a table's name or path")
    parser.add_argument("--format", default="csv", choices=list(FORMATS), help="csv (default) or parquet")
    parser.add_argument(
        "--license", default=LICENSE, metavar="URL", help="of the data; default this suite's, Apache-2.0"
    )
    parser.add_argument("--out", type=cli.folder, required=True, metavar="DIR", help="the folder to write into")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments().parse(argv)
    cli.answer(*map(str, write(load_table(options.table), options.out, options.format, options.license)))
    return 0


if __name__ == "__main__":
    cli.command(main)
