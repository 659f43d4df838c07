"""The check of the ports: the doctor, seen where a person looks first. The job `doctor` runs it alone."""

import dagster as dg

from ledgerline.doctor import PORTS, examine, rows
from platform_assets.listings import listings


@dg.asset_check(
    asset=listings,
    required_resource_keys=set(PORTS),
    description="Every port that is configured does what it must: it is reached, written to and read, and cleaned up.",
)
def every_port_works(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """On `listings`, since all rests on them. Blocks nothing: a run that needs a broken port says so itself."""
    from platform_assets.plots import table

    findings = examine({port: getattr(context.resources, port) for port in PORTS})
    broken = [one for one in findings if not one.works]
    return dg.AssetCheckResult(
        passed=not broken,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(f"{one.port}: {one.said}" for one in broken) or f"{len(findings)} ports work",
        metadata={"broken": len(broken), "ports": table(rows(findings))},
    )
