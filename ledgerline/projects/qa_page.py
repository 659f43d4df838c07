"""The QA report as one HTML page that a reviewer can decide from. Pure: what was found in, text out.

Nothing is loaded from anywhere (no script, no style sheet, no picture), and every value is escaped: answers are what
models write. What is compared with what is in comparison.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from ledgerline.projects.comparison import (
    Chart,
    Compared,
    charts,
    comparison_rows,
    confusion_rows,
    slice_rows,
)
from ledgerline.release.gate import EvaluationReport, Verdict

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

    from ledgerline.projects.pipeline import Comparison

EXAMPLES = 20  # changed answers that are shown, and as many that are the same
LONGEST = 1_000  # characters of a request or an answer


@dataclass(frozen=True, slots=True)
class QaPage:
    """What the page shows. `models`: the candidate first. `known`: candidate and live on the rows that live was judged
    on, None where these are the same. `comparisons` with `requests`: what both answered; empty before QA."""

    project: str
    description: str
    owner: str
    at: datetime
    verdict: Verdict
    models: Sequence[Compared]
    digests: Mapping[str, str]  # what -> digest or address
    approve: str = ""  # the command; "" before the model is registered and where it is approved
    decisions: str = ""
    known: tuple[EvaluationReport, EvaluationReport] | None = None
    live_digest: str | None = None
    comparisons: Sequence[Comparison] = ()
    requests: Sequence[bytes] = field(default_factory=tuple)


def qa_page(page: QaPage) -> str:
    """The page as HTML."""
    report = page.models[0].report
    live = next((one.report for one in page.models if one.role == "live" and one.same_rows), None)
    changed = [item for item in page.comparisons if item.live is not None and not item.same]
    same = [item for item in page.comparisons if item.live is None or item.same]
    return _template().render(
        page=page,
        report=report,
        live=live,
        metrics=_metric_rows(report, live),
        known=_metric_rows(*page.known) if page.known else [],
        models=comparison_rows(page.models),
        charts=[(chart.title, svg(chart)) for chart in charts(page.models)],
        confusion=confusion_rows(report),
        slices={column: slice_rows(report, column, live) for column in report.slices},
        changed=[_example(item, page.requests) for item in changed[:EXAMPLES]],
        same=[_example(item, page.requests) for item in same[:EXAMPLES]],
        changed_count=len(changed),
        asked=len(page.comparisons),
    )


def _metric_rows(report: EvaluationReport, live: EvaluationReport | None) -> list[dict[str, Any]]:
    rows = []
    for name, value in sorted(report.metrics.items()):
        theirs = live.metrics.get(name) if live else None
        difference = value - theirs if value is not None and theirs is not None else None
        rows.append({"metric": name, "candidate": value, "live": theirs, "difference": difference})
    return rows


def _example(item: Comparison, requests: Sequence[bytes]) -> dict[str, str]:
    request = requests[item.request].decode("utf-8", "replace") if item.request < len(requests) else ""
    return {
        "number": str(item.request),
        "request": _short(request),
        "qa": _short(item.qa),
        "live": _short(item.live) if item.live is not None else "no live endpoint answers",
    }


def _short(text: str) -> str:
    with suppress(ValueError):  # an answer need not be JSON
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text):,} characters)"


# Charts --------------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _EDGE = 360, 260, 44
_COLOURS = ("#0b62a4", "#c4552d", "#4a7c3a", "#777777")


def svg(chart: Chart) -> Markup:
    """A chart as inline SVG: lines, or dots, of each model on shared axes."""
    from markupsafe import Markup, escape

    series = {name: [_scaled(x, y, chart) for x, y in points] for name, points in chart.series.items()}
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    if chart.diagonal:
        xs = ys = [*xs, *ys]
    (left, right), (low, high) = _bounds(xs), _bounds(ys)

    def place(x: float, y: float) -> str:
        across = _EDGE + (x - left) / (right - left) * (_WIDTH - _EDGE - 10)
        return f"{across:.1f},{_HEIGHT - _EDGE - (y - low) / (high - low) * (_HEIGHT - _EDGE - 24):.1f}"

    parts = [
        f'<polyline class="axis" points="{place(left, high)} {place(left, low)} {place(right, low)}"/>',
        *(_label(place(x, low), _tick(x, chart), 0, 14, "middle") for x in (left, right)),
        *(_label(place(left, y), _tick(y, chart), -4, 4, "end") for y in (low, high)),
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 14}" text-anchor="middle">{escape(chart.x)}</text>',
        f'<text x="6" y="12">{escape(chart.y)}</text>',
    ]
    if chart.diagonal:
        parts.append(f'<polyline class="diagonal" points="{place(left, left)} {place(right, right)}"/>')
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        if not chart.dots:
            line = " ".join(place(x, y) for x, y in points)
            parts.append(f'<polyline fill="none" stroke="{colour}" points="{line}"/>')
        for x, y in points if chart.dots or len(points) <= 40 else []:
            across, down = place(x, y).split(",")
            parts.append(f'<circle cx="{across}" cy="{down}" r="2.5" fill="{colour}" fill-opacity="0.6"/>')
        parts.append(f'<text x="{_WIDTH - 110}" y="{12 + 13 * number}" fill="{colour}">{escape(name)}</text>')
    body = "".join(parts)
    return Markup(  # noqa: S704 - numbers, and texts that were escaped above
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(chart.title)}">{body}</svg>'
    )


def _scaled(x: float, y: float, chart: Chart) -> tuple[float, float]:
    return (math.log10(1 + max(x, 0)), math.log10(1 + max(y, 0))) if chart.logarithmic else (x, y)


def _tick(value: float, chart: Chart) -> str:
    return f"{10**value - 1:,.0f}" if chart.logarithmic else f"{value:.3g}"


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _label(place: str, text: str, right: int, down: int, anchor: str) -> str:
    x, y = map(float, place.split(","))
    return f'<text x="{x + right:.1f}" y="{y + down:.1f}" text-anchor="{anchor}">{text}</text>'


# The page ------------------------------------------------------------------------------------------------------------

_PAGE = """\
{%- macro cell(value) -%}
{%- if value is none or value is undefined %}–{% elif value is number and value is not integer %}{{ "%.4g"|format(value) }}
{%- else %}{{ value }}{% endif -%}
{%- endmacro -%}
{%- macro table(rows) %}
<table><tr>{% for name in rows[0] %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for name in rows[0] %}<td>{{ cell(row[name]) }}</td>{% endfor %}</tr>
{% endfor %}</table>
{%- endmacro -%}
{%- macro examples(items) %}
<table><tr><th>#</th><th>request</th><th>candidate</th><th>live</th></tr>
{% for one in items %}<tr><td>{{ one.number }}</td><td><pre>{{ one.request }}</pre></td><td><pre>{{ one.qa }}</pre></td>
<td><pre>{{ one.live }}</pre></td></tr>
{% endfor %}</table>
{%- endmacro -%}
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ "QA report" if page.approve else "Evaluation" }}: {{ page.project }} {{ report.model_digest[:12] }}</title>
<style>
body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.5em 0 1.5em}
th,td{border:1px solid #ccc;padding:.2em .6em;text-align:left;vertical-align:top}
th{background:#f3f3f3}pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;max-width:24em;font-size:12px}pre.wide{max-width:none}
.passed{color:#2a6b1f}.failed{color:#a8201a;font-weight:bold}
svg{width:360px;font-size:11px;margin:.5em}svg .axis{fill:none;stroke:#888}
svg .diagonal{fill:none;stroke:#bbb;stroke-dasharray:4}
code{background:#f3f3f3;padding:.1em .3em;overflow-wrap:anywhere}
</style></head><body>
<h1>{{ page.project }}: model {{ report.model_digest[:12] }}</h1>
<p>{{ page.description }} Owner: {{ page.owner }}. Written {{ page.at.strftime("%Y-%m-%d %H:%M UTC") }}.</p>
<h2>Verdict: <span class="{{ 'passed' if page.verdict.passed else 'failed' }}">{{ page.verdict.summary }}</span></h2>
<table><tr><th>rule</th><th>value</th><th>live</th><th></th><th>why</th></tr>
{% for one in page.verdict.reasons %}<tr><td>{{ one.rule }}</td>
<td>{{ cell(one.value) }}</td><td>{{ cell(one.live_value) }}</td>
<td class="{{ 'passed' if one.passed else 'failed' }}">{{ "passed" if one.passed else "FAILED" }}</td>
<td>{{ one.reason }}</td></tr>
{% endfor %}</table>
{% if page.approve %}<p>To approve: <code>{{ page.approve }}</code></p>{% endif %}
{% if page.decisions %}<p>Decided so far:</p><pre class="wide">{{ page.decisions }}</pre>{% endif %}
<h2>New data</h2>
<p>The test rows of the candidate's training set ({{ report.data_digest[:12] }}){% if page.live_digest == report.model_digest %}.
This very model is live{% elif not live %}; no live model was measured on them{% endif %}.</p>
{{ table(metrics) }}
<h2>Known data</h2>
{% if known %}<p>The test rows that the live model was judged on ({{ page.known[0].data_digest[:12] }}).</p>{{ table(known) }}
{% elif page.live_digest %}<p>The live model was judged on the same test rows.</p>
{% else %}<p>No live endpoint answers.</p>{% endif %}
{% if page.comparisons %}<h2>Changed answers: {{ changed_count }} of {{ asked }}</h2>
{% if not page.live_digest %}<p>No live endpoint answers: there is nothing to differ from.</p>{% endif %}
{% if changed %}{{ examples(changed) }}{% endif %}
{% if same %}<h3>{{ "The same from both" if page.live_digest else "Answers of the candidate" }}</h3>
{{ examples(same) }}{% endif %}
{% endif %}
<h2>Models</h2>{{ table(models) }}
{% if charts %}<h2>Charts</h2>{% for title, chart in charts %}<figure style="display:inline-block;margin:0">
<figcaption>{{ title }}</figcaption>{{ chart }}</figure>{% endfor %}{% endif %}
{% if confusion %}<h2>Confusion</h2>{{ table(confusion) }}{% endif %}
{% for column, rows in slices.items() if rows %}<h2>By {{ column }}</h2>{{ table(rows) }}{% endfor %}
<h2>Digests</h2><table>{% for name, value in page.digests.items() %}<tr><th>{{ name }}</th><td><code>{{ value }}</code></td></tr>
{% endfor %}</table>
</body></html>
"""


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(_PAGE)
