"""Split labelled candidates into train, validation and test, and give every feature a column of its own.

Runs as a SageMaker processing job: `preprocessing.py --input-dir DIR --output-dir DIR`. The input folder holds Parquet
files with the columns of the lake table `labelled_candidates`; the output folder gets train/, validation/ and
test/, each with one `rows.parquet`. Nothing is random: the split is by a hash of the group and by the day.

By company: a group (the company of the truth or of the trap) is on one side only, so that no name is learned by heart.
By time: every test row is later than every train row, since a model is used on what comes after its facts.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TRAIN_GROUPS, VALIDATION_GROUPS = 66, 82  # of 100 hash buckets: up to 66 train, up to 82 validation, the rest test
TEST_FROM_SHARE = 0.80  # the day before which 80 % of the mentions lie is where the test begins
KEPT = ("mention_id", "surface", "kind", "group", "as_of", "truth", "position", "company_id", "label")
_FEATURES = """surface_chars surface_words surface_lower surface_upper surface_lower_words surface_digits surface_hangul
    surface_form surface_rarest surface_first_rarity surface_known_words after_article after_lower_word
    after_capital before_capital before_company_word equal_normal equal_core equal_stem equal_compact ratio
    partial_ratio token_set_ratio jaro_winkler common_subsequence same_first_word surface_starts_name
    name_starts_surface initials same_form words_left words_inside words_right name_words_left
    name_words_right name_words surface_covered name_covered context_completes right_rarity exact bm25
    bm25_of_best bm25_rank ngram ngram_of_best ngram_rank graph name_kind name_is_current name_years_early
    name_years_late listing_years_early listing_years_late is_listed size_rank same_start_companies
    ticker_in_context ratio_lead covered_lead size_lead equal_core_candidates unlisted_lead candidates"""
FEATURES = tuple(_FEATURES.split())


class PreprocessingError(Exception):
    """The input is not what this script was written for; the message names the place and the remedy."""


def feature_set(names: tuple[str, ...]) -> str:
    """The digest under which the platform writes down the names and order of the features of a row."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def read_rows(folder: Path) -> pa.Table:
    """All Parquet files of the folder, in the order of their names, mention by mention, best candidate first."""
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise PreprocessingError(f"No .parquet file in {folder}; give the folder of the training set as --input-dir.")
    rows = pa.concat_tables([pq.read_table(file) for file in files])
    missing = [name for name in (*KEPT, "feature_set", "features") if name not in rows.column_names]
    if missing:
        raise PreprocessingError(
            f"The training set in {folder} has no {', '.join(missing)}; add it to dataset.columns in config.yaml."
        )
    for found in rows["feature_set"].unique().to_pylist():
        if found != feature_set(FEATURES):
            raise PreprocessingError(
                f"The training set was made with the features {found}, this project knows {feature_set(FEATURES)}; "
                "materialize labelled_candidates again, or bring FEATURES in preprocessing.py up to date."
            )
    return rows.sort_by([("mention_id", "ascending"), ("position", "ascending")])


def bucket(group: str) -> int:
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") % 100


def split(rows: pa.Table) -> dict[str, pa.Table]:
    """Rows by channel. Rows of training groups that are later than the cut belong to no channel."""
    groups = rows["group"].unique().to_pylist()
    buckets = {group: bucket(group) for group in groups}
    of_row = np.array([buckets[group] for group in rows["group"].to_pylist()])
    days = rows["as_of"].to_pylist()
    firsts = [day for day, position in zip(days, rows["position"].to_pylist(), strict=True) if position == 0]
    cut = sorted(firsts)[int(len(firsts) * TEST_FROM_SHARE)]
    early = np.array([day < cut for day in days])
    masks = {
        "train": early & (of_row < TRAIN_GROUPS),
        "validation": early & (of_row >= TRAIN_GROUPS) & (of_row < VALIDATION_GROUPS),
        "test": ~early & (of_row >= TRAIN_GROUPS),
    }
    channels = {name: rows.filter(pa.array(mask)) for name, mask in masks.items()}
    for name, found in channels.items():
        if found.num_rows == 0:
            raise PreprocessingError(
                f"The split left no row for {name}: the training set has {rows.num_rows} rows of {len(groups)} groups; "
                "make labelled_candidates larger."
            )
    return channels


def with_feature_columns(rows: pa.Table) -> pa.Table:
    """The kept columns and one float column per feature, named."""
    lengths = pc.unique(pc.list_value_length(rows["features"])).to_pylist()
    if lengths != [len(FEATURES)]:
        raise PreprocessingError(
            f"Rows hold {lengths} features, expected {len(FEATURES)}; materialize labelled_candidates again."
        )
    flat = pc.list_flatten(rows["features"].combine_chunks()).to_numpy(zero_copy_only=False)
    matrix = flat.reshape(rows.num_rows, len(FEATURES))
    columns = {name: rows[name] for name in KEPT}
    columns |= {name: pa.array(matrix[:, at], pa.float32()) for at, name in enumerate(FEATURES)}
    return pa.table(columns)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input-dir", type=Path, default=os.environ.get("PROCESSING_INPUT_DIR"))
    parser.add_argument("--output-dir", type=Path, default=os.environ.get("PROCESSING_OUTPUT_DIR"))
    args = parser.parse_args(arguments)
    if args.input_dir is None or args.output_dir is None:
        parser.error("--input-dir and --output-dir are needed")
    try:
        for name, rows in split(read_rows(args.input_dir)).items():
            folder = args.output_dir / name
            folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(with_feature_columns(rows), folder / "rows.parquet", compression="zstd")
            print(f"{name}: {len(rows['mention_id'].unique())} mentions, {rows.num_rows} candidates")
    except PreprocessingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
