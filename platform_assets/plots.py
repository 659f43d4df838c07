"""Small plots and tables for the metadata of a materialization. Belongs here: how a figure becomes metadata. Data does not.

Labels of a plot are numbers or English words: matplotlib's font has no Hangul. Names go into tables.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _as_markdown(figure: Any, title: str) -> dg.MarkdownMetadataValue:
    from PIL import Image

    drawn, picture = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None})
    # Every materialization is kept for good: 32 colours take a third of the bytes and look the same.
    Image.open(drawn).convert("RGB").quantize(32).save(picture, format="png", optimize=True)
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})")


def _axes(title: str, x: str, y: str) -> tuple[Any, Axes]:
    # The object interface: pyplot keeps global state and is not safe in the threads of a run.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def bars(title: str, counts: Mapping[str, float], *, x: str, y: str = "count") -> dg.MarkdownMetadataValue:
    """A bar for each key, in the order given."""
    figure, axes = _axes(title, x, y)
    axes.bar(list(map(str, counts)), list(counts.values()))
    axes.tick_params(axis="x", rotation=45 if len(counts) > 6 else 0)
    return _as_markdown(figure, title)


def histogram(title: str, values: Sequence[float], *, x: str, bins: int = 20) -> dg.MarkdownMetadataValue:
    figure, axes = _axes(title, x, "count")
    axes.hist(values, bins=bins)
    return _as_markdown(figure, title)


def stacked(
    title: str, labels: Sequence[str], layers: Mapping[str, Sequence[float]], *, y: str
) -> dg.MarkdownMetadataValue:
    """A bar for each label, of layers on top of each other."""
    figure, axes = _axes(title, "", y)
    below = [0.0] * len(labels)
    for name, values in layers.items():
        axes.bar(labels, list(values), bottom=below, label=name)
        below = [low + value for low, value in zip(below, values, strict=True)]
    _dress(axes, labels)
    return _as_markdown(figure, title)


def lines(
    title: str, labels: Sequence[str], series: Mapping[str, Sequence[float | None]], *, y: str, log: bool = False
) -> dg.MarkdownMetadataValue:
    """A line for each series over the labels; None is a gap."""
    figure, axes = _axes(title, "", y)
    for name, values in series.items():
        axes.plot(labels, [float("nan") if value is None else value for value in values], marker="o", label=name)
    if log:
        axes.set_yscale("log")
    _dress(axes, labels)
    return _as_markdown(figure, title)


def _dress(axes: Axes, labels: Sequence[str]) -> None:
    axes.tick_params(axis="x", rotation=45 if len(labels) > 6 else 0)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))


def calibration(title: str, bins: Sequence[Sequence[float]]) -> dg.MarkdownMetadataValue:
    """Bins of [mean score, share that is right, rows] against the diagonal of a perfectly calibrated score."""
    figure, axes = _axes(title, "mean score", "share right")
    rows = [row for _, _, row in bins]
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.scatter(
        [score for score, _, _ in bins], [right for _, right, _ in bins], s=[10 + 200 * row / max(rows) for row in rows]
    )
    return _as_markdown(figure, title)


def points(
    title: str,
    series: Mapping[str, Sequence[Sequence[float]]],
    *,
    x: str,
    y: str,
    diagonal: bool = False,
    dots: bool = False,
    logarithmic: bool = False,
) -> dg.MarkdownMetadataValue:
    """Lines, or dots, through the points (x, y) of each series; `diagonal` is what would be right, or chance."""
    figure, axes = _axes(title, x, y)
    for name, values in series.items():
        across, up = [value[0] for value in values], [value[1] for value in values]
        axes.plot(across, up, "o" if dots else "-", markersize=3, alpha=0.6 if dots else 1, label=name)
    if logarithmic:
        axes.set_xscale("symlog")
        axes.set_yscale("symlog")
    if diagonal:
        axes.axline((0, 0), (1, 1), color="grey", linewidth=1)
    axes.legend(fontsize="small")
    return _as_markdown(figure, title)


def table(records: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """A metadata table of plain records; cells that Dagster cannot show are written as text."""
    plain = [
        dg.TableRecord(
            {k: v if isinstance(v, str | int | float | bool) else "" if v is None else str(v) for k, v in r.items()}
        )
        for r in records
    ]
    columns = [dg.TableColumn(str(name)) for name in (records[0] if records else {})]
    return dg.MetadataValue.table(plain, schema=dg.TableSchema(columns=columns))
