"""`make demo`: every room of the platform once, from filings to a live endpoint that answers.

Each step runs the same Dagster jobs that the UI and the sensors run, in this process, on the instance in the home; a step
whose result is there already says so and does nothing. What the steps do is in the assets; here is only their order.
"""

from __future__ import annotations

import dataclasses
import fcntl
import getpass
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from cli.ask import answer
from cli.home import open_instance, prepare
from cli.progress import Progress
from ledgerline.errors import ConfigurationError, LedgerlineError
from resources.environment import ROOT, Settings, archive_of, read_settings

if TYPE_CHECKING:
    import dagster as dg

    from ledgerline.projects.config import ModelProject
    from ledgerline.release.releases import Candidate

PROJECT = "ticker_ranker"
# Only what a person must see: the runs themselves are in the instance, with all their lines.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
STARTED_BY = {"ledgerline/started_by": "make demo"}
BUILT_FROM: Mapping[str, tuple[str, ...]] = {  # what is built from the listings, in the order in which it is built
    "listings": (),
    "knowledge_graph": ("listings",),
    "candidate_index": ("listings",),
    "labelled_candidates": ("listings", "knowledge_graph", "candidate_index"),
}
FORMS_SHOWN = 20  # in the table at the end; the rest is one row
QUESTION = ("Facebook", "Facebook shares rose after the company reported its second quarter.", date(2017, 7, 25))


def demo(archive: str | None, *, approve: bool) -> int:
    """Run all steps; 0 only if the live endpoint answered with the approved model. Raises LedgerlineError otherwise."""
    settings = read_settings()
    if archive is not None:
        settings = dataclasses.replace(settings, archive=archive_of(archive))
    progress = Progress()
    prepare(settings)
    with only_one(settings.home / "demo.lock"):
        with progress.step("platform") as step:
            run = Demo(settings, progress)
            run.resources["regulators"].sources()  # a folder that is no archive is refused before anything runs
            step.said = run.start()
        run.refresh_listings()
        keys = run.onboard()
        run.read(keys)
        run.train()
        if not run.approve(approve):
            return 2
        run.go_live()
        run.map(keys)
        run.summary(keys)
        return run.live_line(archive)


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock of this home; it ends with the process, however that dies."""
    with open(path, "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise ConfigurationError(
                f"another `make demo` (process {lock.read().strip()}) is at work in {path.parent}; wait for it, or set "
                "LEDGERLINE_HOME to another folder."
            ) from error
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


class Demo:
    """The steps, with what they share: settings, Dagster's instance, definitions and the resources outside runs."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        from ledgerline.projects.config import load_project
        from platform_assets.definitions import build_defs
        from resources import build_resources

        self.settings = settings
        self.progress = progress
        self.resources = build_resources(settings=settings)
        self.instance = open_instance(settings)
        self.defs = build_defs(resource_overrides=self.resources)
        self.project: ModelProject = load_project(ROOT / "model_projects" / PROJECT)

    # Running ---------------------------------------------------------------------------------------------------------

    def run(self, job: str, *, assets: Sequence[str] = (), keys: Sequence[str] = ()) -> dg.ExecuteInProcessResult:
        """Run a job here. Raises LedgerlineError with the message of the step that failed."""
        import dagster as dg

        from sensors.failures import authors_message

        tags = dict(STARTED_BY)
        if keys:
            tags |= {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
        result = self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets] or None,
            run_config=QUIET,
            tags=tags,
            raise_on_error=False,
        )
        for said in failed_checks(result.get_asset_check_evaluations()):
            raise LedgerlineError(f"{said} (run {result.run_id}; its log is in `make dev`)")
        for event in result.all_events:
            if event.is_step_failure:
                raise LedgerlineError(f"{authors_message(event)} (run {result.run_id}; its log is in `make dev`)")
        if not result.success:
            raise LedgerlineError(f"run {result.run_id} of {job} failed; its log is in `make dev`")
        return result

    def run_days(self, job: str, asset: str, keys: Sequence[str]) -> None:
        """Materialize an asset for partitions in as few runs as their order in the instance allows."""
        known = list(self.instance.get_dynamic_partitions("source_day"))
        for first, last in stretches(known, keys):
            self.run(job, assets=[asset], keys=[first, last])

    def latest(self, asset: str, key: str) -> Any:
        import dagster as dg

        from platform_assets.provenance import DayProvenance

        return DayProvenance.latest(self.instance, dg.AssetKey(asset), key)

    def stale(self, asset: str, upstream: str, keys: Sequence[str], also: str = "") -> list[str]:
        """The partitions of an asset that were not made from what is upstream now."""
        from platform_assets.provenance import input_digest

        found = []
        for key in keys:
            above, own = self.latest(upstream, key), self.latest(asset, key)
            if above is not None and (own is None or own.input_digest != input_digest(above.digest, also)):
                found.append(key)
        return found

    # Steps -----------------------------------------------------------------------------------------------------------

    def start(self) -> str:
        """Settle what a killed demo left behind, and begin what is slow in the background."""
        import dagster as dg

        from platform_assets.runs import UNFINISHED

        # With NOT_STARTED: the demo starts its runs itself, so that nobody else will ever start this one.
        statuses = [*UNFINISHED, dg.DagsterRunStatus.NOT_STARTED]
        unfinished = dg.RunsFilter(tags=STARTED_BY, statuses=statuses)
        left = self.instance.get_runs(filters=unfinished)
        for run in left:
            self.instance.report_run_failed(run, "The `make demo` that started it was killed.")
            self.instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            self.resources["experiments"].mark_failed(run.run_id)
        self.resources["experiments"].warm_up()
        Thread(target=self.resources["sagemaker"].describe_endpoint, args=("warm-up",), daemon=True).start()
        return f"state in {self.settings.home}" + (f", {len(left)} killed run(s) settled" if left else "")

    def refresh_listings(self) -> None:
        """Companies and names, and the graph, index and examples that are built from them."""
        import dagster as dg

        from ledgerline.digests import combined_digest, table_digest
        from ledgerline.names.lake import known_facts
        from ledgerline.names.tables import TABLES
        from platform_assets.listings import ListingsProvenance

        built = ListingsProvenance.latest(self.instance, dg.AssetKey("listings"))
        facts = self.resources["listings_source"].load(lambda line: None, known_facts(self.resources["lake"]))
        wanted = combined_digest({name: table_digest(getattr(facts, name)) for name in TABLES})
        made = {asset: self.made(asset) for asset in BUILT_FROM}
        if built is None or built.digest != wanted:
            made["listings"] = 0
        for asset in BUILT_FROM:
            with self.progress.step(asset) as step:
                if up_to_date(asset, made):
                    step.skip("unchanged")
                    continue
                step.said = said_of(self.run("refresh_listings", assets=[asset]), asset)
                made[asset] = self.made(asset)

    def made(self, asset: str) -> int:
        """The storage id of the newest materialization of an asset: a later one has a greater id. 0 if there is none."""
        import dagster as dg

        records = self.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
        return records[0].storage_id if records else 0

    def onboard(self) -> list[str]:
        """Filings of every day that the regulators' archive holds; returns the partitions."""
        from platform_assets.partitions import partition_key

        with self.progress.step("filings") as step:
            regulators = self.resources["regulators"]
            held = {
                partition_key(source, day): len(regulators.of(source).discover(day))
                for source in regulators.sources()
                for day in regulators.of(source).days()
            }
            keys = sorted(held)
            self.instance.add_dynamic_partitions("source_day", keys)
            news = [
                key
                for key in keys
                if (known := self.latest("filings", key)) is None or known.input_digest != str(held[key])
            ]
            if not news:
                step.skip(f"nothing new: {sum(held.values())} filings on {len(keys)} days are there")
                return keys
            self.run_days("onboard", "filings", news)
            states = Counter(row["reason"] or row["state"] for row in self.rows("filings", ["state", "reason"], keys))
            step.said = f"{sum(held.values())} on {len(keys)} days: " + listed(states)
        return keys

    def read(self, keys: Sequence[str]) -> None:
        """Documents, clusters, mentions and candidates of the days that are behind their filings."""
        index, graph = self.resources["candidate_index_store"], self.resources["knowledge_graph_store"]
        versions = f"{index.current()}+{graph.current()}"
        for asset, upstream, also in (
            ("documents", "filings", ""),
            ("clusters", "documents", ""),
            ("mentions", "documents", ""),
            ("candidate_sets", "mentions", versions),
        ):
            with self.progress.step(asset) as step:
                behind = self.stale(asset, upstream, keys, also)
                if not behind:
                    step.skip("nothing new")
                    continue
                self.run_days("map_filings", asset, behind)
                step.said = f"{sum(self.latest(asset, key).rows for key in behind):,} rows for {len(behind)} days"

    def train(self) -> None:
        """Train, evaluate, register and QA a candidate, unless there is one of just this data, code and gate."""
        import dagster as dg

        from ledgerline.release.releases import latest_candidate
        from platform_assets.components.model_project import ModelProvenance, QaReportProvenance, TrainingSetProvenance

        def key(step: str) -> dg.AssetKey:
            return dg.AssetKey([PROJECT, step])

        data = TrainingSetProvenance.latest(self.instance, key("training_set"))
        model = ModelProvenance.latest(self.instance, key("model"))
        report = QaReportProvenance.latest(self.instance, key("qa_report"))
        candidate = latest_candidate(self.records())
        done = (
            data is not None
            and model is not None
            and report is not None
            and data.version == self.resources["lake"].version("labelled_candidates")
            and model.dataset_digest == data.digest
            and model.code_digest == self.project.code_digest
            and report.model_digest == model.model_digest
            and candidate is not None  # the ledger may have been lost while Dagster's history was not
            and candidate.policy_digest == self.project.policy.digest  # a changed gate must judge it anew
        )
        for asset in ("training_set", "model", "evaluation", "model_version", "qa_endpoint", "qa_report"):
            with self.progress.step(f"{PROJECT}/{asset}") as step:
                if done:
                    step.skip("unchanged")
                    continue
                step.said = said_of(self.run(f"train_{PROJECT}", assets=[f"{PROJECT}/{asset}"]), f"{PROJECT}/{asset}")

    def approve(self, wanted: bool) -> bool:
        """Approve the candidate as the person who runs the demo, or name who must approve what."""
        from jobs.releases import DecisionConfig, decide_on
        from ledgerline.release.approvals import standing_approval, standing_refusal
        from ledgerline.release.releases import approvals, decide_command

        candidate = self.candidate()
        digests = {
            "model_digest": candidate.model_digest,
            "report_digest": candidate.report_digest,
            "policy_digest": candidate.policy_digest,
        }
        decisions = approvals(self.records())
        standing = standing_approval(decisions, **digests)
        with self.progress.step("approval") as step:
            if standing is not None:
                step.skip(f"{candidate.model_digest[:12]} is approved by {standing.approver}: {standing.reason}")
                return True
            refusal = standing_refusal(decisions, candidate.model_digest)
            if refusal is not None:  # the demo stands in for a reviewer who has not looked yet, and overrules nobody
                said = {"reject": "rejected", "withdraw": "withdrawn"}[refusal.decision]
                step.skip(f"{candidate.model_digest[:12]} was {said} by {refusal.approver}: {refusal.reason}")
            elif not wanted:
                step.skip(f"{candidate.model_digest[:12]} waits: a person must approve it")
            if refusal is not None or not wanted:
                self.progress.say(decide_command("approve", PROJECT, candidate.model_digest))
                return False
            config = DecisionConfig(
                project=PROJECT,
                model_digest=candidate.model_digest,
                approver=getpass.getuser(),
                reason="make demo stands in for the reviewer; the gate passed",
            )
            ports = {name: self.resources[name] for name in ("object_store", "sagemaker", "release_ledger")}
            approval = decide_on("approve", [self.project], config, **ports)
            step.said = f"{candidate.model_digest[:12]} approved by {approval.approver} ({approval.reason})"
        return True

    def go_live(self) -> None:
        """Put the approved candidate live; the deploy code judges it again."""
        from ledgerline.release.releases import current_release

        asset = f"{PROJECT}/live_endpoint"
        with self.progress.step(asset) as step:
            wanted, released = self.candidate().model_digest, current_release(self.records())
            state = self.resources["sagemaker"].describe_endpoint(self.project.endpoint)
            serves = state is not None and (state.status, state.model_digest) == ("InService", wanted)
            # Both: a demo killed between the endpoint's update and the ledger's row has yet to conclude that release.
            if serves and released is not None and released.model_digest == wanted:
                step.skip(f"{self.project.endpoint} serves {wanted[:12]} already")
                return
            step.said = said_of(self.run(f"deploy_{PROJECT}", assets=[asset]), asset)

    def map(self, keys: Sequence[str]) -> None:
        """Ask the live endpoint about every mention of the days that were not mapped by this model."""
        with self.progress.step("ticker_mappings") as step:
            behind = self.stale("ticker_mappings", "candidate_sets", keys, self.candidate().model_digest)
            if not behind:
                step.skip("nothing new")
                return
            self.run_days("map_filings", "ticker_mappings", behind)
            step.said = (
                f"{sum(self.latest('ticker_mappings', key).rows for key in behind):,} mentions of {len(behind)} days"
            )
        with self.progress.step("mapping_quality") as step:
            step.said = said_of(self.run("refresh_monitoring"), "mapping_quality")

    # Showing ---------------------------------------------------------------------------------------------------------

    def summary(self, keys: Sequence[str]) -> None:
        """Filings per form, what mentions were mapped to, and what the gate saw."""
        from ledgerline.release.deploy import measured_size, recorded_reports
        from ledgerline.release.gate import judge

        filings = self.rows("filings", ["form", "state", "reason"], keys)
        forms = Counter(row["form"] for row in filings)
        refused = Counter(row["form"] for row in filings if row["state"] == "refused")
        shown = dict(forms.most_common(FORMS_SHOWN))
        others = forms.keys() - shown.keys()
        if others:
            shown["others"] = sum(forms[form] for form in others)
            refused["others"] = sum(refused[form] for form in others)
        self.progress.table(
            "Filings per form",
            ["form", "filings", "refused"],
            [[form, count, refused[form] or ""] for form, count in shown.items()],
        )
        mappings = self.rows("ticker_mappings", ["ticker", "none_reason"], keys)
        linked = sum(row["ticker"] is not None for row in mappings)
        reasons = Counter(row["none_reason"] for row in mappings if row["ticker"] is None)
        candidate = self.candidate()
        objects = self.resources["object_store"]
        report, live = recorded_reports(self.project, candidate, self.records(), objects)
        size = measured_size(self.project.policy, objects, candidate.model_uri)
        verdict = judge(report, self.project.policy, live, size_bytes=size)
        metrics: list[list[object]] = [
            [f"{name} of the ranker", f"{value:.4f}"]
            for name, value in sorted(report.metrics.items())
            if value is not None
        ]
        self.progress.table(
            "Result",
            ["what", "value"],
            [
                ["filings", f"{len(filings):,} ({sum(refused.values())} refused, kept with their reason)"],
                ["mentions mapped to a ticker", f"{linked:,} of {len(mappings):,}"],
                ["none", listed(reasons) or "0"],
                *metrics,
                [
                    "verdict of the gate",
                    "passed"
                    if verdict.passed
                    else "; ".join(rule.reason for rule in verdict.reasons if not rule.passed),
                ],
                ["model digest", candidate.model_digest],
            ],
        )

    def live_line(self, archive: str | None) -> int:
        """Ask the live endpoint a question and compare its model with the approved one."""
        surface, text, day = QUESTION
        asked = answer(self.resources, surface, text, day)
        self.progress.say("Look further: `make dev` (the UI), or")
        self.progress.say('  make ask MENTION="Facebook" TEXT="Facebook shares rose" AS_OF=2024-07-25')
        exports = f'export LEDGERLINE_HOME="{self.settings.home}" DAGSTER_HOME="{self.settings.dagster_home}"'
        if archive is not None:
            exports += f' LEDGERLINE_ARCHIVE="{self.settings.archive}"'
        self.progress.say("From a bare shell, e.g. for `dagster asset materialize`, first:")
        self.progress.say(f'  {exports} PATH="{ROOT / ".venv" / "bin"}:$PATH"')
        wanted = self.candidate().model_digest
        if asked.model_digest != wanted:
            raise LedgerlineError(
                f"the endpoint {self.project.endpoint} answered with model {asked.model_digest[:12]}, approved is "
                f"{wanted[:12]}; look at {PROJECT}/live_endpoint in `make dev`."
            )
        self.progress.say(
            f"LIVE {self.project.endpoint} {asked.model_digest[:12]} {surface} as of {day} -> {asked.mapped.ticker or 'none'} "
            f"score {asked.mapped.score:.3f} in {asked.milliseconds:.0f} ms"
        )
        return 0

    def rows(self, table: str, columns: list[str], keys: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of a lake table that belong to the demo's days."""
        found = self.resources["lake"].read(table, columns=["source", "day", *columns]).to_pylist()
        wanted = set(keys)
        return [row for row in found if f"{row['source']}:{row['day']}" in wanted]

    def records(self) -> list[Any]:
        return [entry.record for entry in self.resources["release_ledger"].entries(PROJECT)]

    def candidate(self) -> Candidate:
        from ledgerline.release.releases import latest_candidate

        candidate = latest_candidate(self.records())
        if candidate is None:
            raise LedgerlineError(
                f"no candidate of {PROJECT} is registered; look at {PROJECT}/model_version in `make dev`."
            )
        return candidate


def up_to_date(asset: str, made: Mapping[str, int]) -> bool:
    """Whether an asset of BUILT_FROM was made after all that it is built from; `made`: when, 0 for never.

    That it was made once is not enough: a demo killed after new listings left behind what was built from the old ones.
    """
    return made[asset] > max((made[above] for above in BUILT_FROM[asset]), default=0)


def stretches(known: Sequence[str], wanted: Sequence[str]) -> list[tuple[str, str]]:
    """First and last key of each unbroken stretch of `wanted` in the order of `known`."""
    chosen = set(wanted)
    found: list[tuple[str, str]] = []
    before = None
    for key in known:
        if key in chosen:
            found = [*found[:-1], (found[-1][0], key)] if before in chosen and found else [*found, (key, key)]
        before = key
    return found


def listed(counts: Mapping[Any, int]) -> str:
    """ "397 published, 3 truncated": the most frequent first."""
    return ", ".join(f"{count:,} {name}" for name, count in Counter(counts).most_common())


def said_of(result: dg.ExecuteInProcessResult, asset: str) -> str:
    """One line of what a materialization says of itself: its short numbers and words."""
    for event in result.get_asset_materialization_events():
        if event.asset_key is not None and "/".join(event.asset_key.path) == asset:
            metadata = event.materialization.metadata
            said = {name: getattr(value, "value", None) for name, value in metadata.items()}
            return ", ".join(
                f"{name.removeprefix('ledgerline/').replace('_', ' ')} {short(value)}"
                for name, value in said.items()
                if isinstance(value, int | float | str) and value != "" and len(short(value)) <= 40
            )
    return ""


def short(value: object) -> str:
    """A value of metadata in a line: few digits, thousands apart, the head of a digest."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    text = str(value)
    return text[:12] if len(text) == 64 else text


def failed_checks(checks: Sequence[dg.AssetCheckEvaluation]) -> list[str]:
    """What each blocking check that failed says; Dagster's own exception only counts them."""
    return [
        f"{check.asset_key.to_user_string()} does not pass its check `{check.check_name}`: {check.description}"
        for check in checks
        if check.blocking and not check.passed and check.severity.value == "ERROR"
    ]
