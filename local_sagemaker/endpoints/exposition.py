"""GET /metrics: the endpoints' metrics in the text format of Prometheus (version 0.0.4), for those who hold the token.

A scraper cannot sign with SigV4, so it shows the bearer token in the home's file metrics-token. Names of endpoints and
variants need no escaping: they are letters, digits and hyphens.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from local_sagemaker.endpoints.metrics import DRIFT, DRIFT_NAMESPACE, NAMESPACE, Distribution

if TYPE_CHECKING:
    from local_sagemaker.endpoints.supervisor import Supervisor

_WINDOW_SECONDS = 60
_QUANTILES = (50, 90, 99)


class Scraper:
    """Answers scrapes of one server."""

    def __init__(self, token: str, endpoints: Supervisor) -> None:
        self._expected = f"Bearer {token}".encode()
        self._endpoints = endpoints

    def answer(self, authorization: str) -> tuple[int, str, bytes]:
        """Status, header lines and body for a request with this Authorization header."""
        if not hmac.compare_digest(authorization.encode(), self._expected):
            text = "Show the token in the file metrics-token of the server's home: Authorization: Bearer <token>.\n"
            return 401, "www-authenticate: Bearer\r\ncontent-type: text/plain\r\n", text.encode()
        body = "\n".join(self._lines()) + "\n"
        return 200, "content-type: text/plain; version=0.0.4; charset=utf-8\r\n", body.encode()

    def _lines(self) -> Iterator[str]:
        rows = [
            (f'endpoint="{endpoint}",variant="{variant}"', {"EndpointName": endpoint, "VariantName": variant}, row)
            for endpoint, variant, row in self._endpoints.metrics.totals()
        ]
        yield from _family(
            "sagemaker_endpoint_invocations_total", "counter", "Answers of the model, and their absence."
        )
        yield from (f"sagemaker_endpoint_invocations_total{{{labels}}} {row.invocations}" for labels, _, row in rows)
        yield from _family("sagemaker_endpoint_errors_total", "counter", "Answers that were errors, by class.")
        for labels, _, row in rows:
            yield f'sagemaker_endpoint_errors_total{{{labels},class="4xx"}} {row.errors_4xx}'
            yield f'sagemaker_endpoint_errors_total{{{labels},class="5xx"}} {row.errors_5xx}'
        for metric, part in (("ModelLatency", "model"), ("OverheadLatency", "overhead")):
            family = f"sagemaker_endpoint_{part}_latency_seconds"
            yield from _family(family, "summary", "Time per request; quantiles of the last minute.")
            for labels, dimensions, row in rows:
                recent = self._recent(NAMESPACE, metric, dimensions)
                if recent is not None:
                    for percent in _QUANTILES:
                        value = recent.percentile(percent) / 1e6
                        yield f'{family}{{{labels},quantile="{percent / 100:g}"}} {value:.6g}'
                yield f"{family}_sum{{{labels}}} {(row.model_us if part == 'model' else row.overhead_us) / 1e6:.6f}"
                yield f"{family}_count{{{labels}}} {row.invocations}"
        yield from _family("sagemaker_endpoint_prediction_drift", "gauge", "Largest of the last minute; in an update.")
        for labels, dimensions, _ in rows:
            recent = self._recent(DRIFT_NAMESPACE, DRIFT, dimensions)
            if recent is not None:
                yield f"sagemaker_endpoint_prediction_drift{{{labels}}} {recent.high:.6g}"
        yield from _family("sagemaker_alarm_firing", "gauge", "1 while the alarm is in ALARM state.")
        for name, state in self._endpoints.alarms.states():
            shown = name.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
            yield f'sagemaker_alarm_firing{{alarm="{shown}"}} {int(state == "ALARM")}'

    def _recent(self, namespace: str, metric: str, dimensions: Mapping[str, str]) -> Distribution | None:
        now = int(time.time()) + 1
        return self._endpoints.metrics.window(namespace, metric, dimensions, now - _WINDOW_SECONDS, now)


def _family(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"
