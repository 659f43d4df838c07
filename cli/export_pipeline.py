"""`export-pipeline`: a model project as the definition of a SageMaker Pipeline, on stdout or in a file."""

from __future__ import annotations

import sys
from pathlib import Path

from ledgerline.errors import ConfigurationError
from ledgerline.projects.config import load_delivered, load_projects
from ledgerline.projects.sections import did_you_mean, nearest
from resources.environment import ROOT, read_settings


def export(project: str, out: str) -> int:
    """Write the definition; what is not in it is said on stderr. Raises ConfigurationError for an unknown project."""
    from resources import build_resources
    from resources.pipeline_export import export_pipeline

    settings = read_settings()
    own = load_projects(ROOT / "model_projects")
    projects = {one.name: one for one in own}
    projects |= {one.name: one for one in load_delivered(settings.delivered_projects, set(projects))}
    if project not in projects:
        meant = did_you_mean(nearest(project, list(projects))) or "."
        raise ConfigurationError(f"There is no model project `{project}`{meant} Known: {', '.join(sorted(projects))}.")
    made = export_pipeline(projects[project], build_resources(settings=settings)["sagemaker"])
    print(f"Not in the pipeline {made.name}:", *made.not_exported, sep="\n- ", file=sys.stderr)
    if settings.environment == "local":
        print(
            "Its role, image and addresses are those of the embedded platform: give others when it is started, and export "
            "with LEDGERLINE_ENV=prod, which stores the project's code in the bucket.",
            file=sys.stderr,
        )
    if not out:
        print(made.definition)
        return 0
    try:
        Path(out).write_text(made.definition + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{out} cannot be written ({error.strerror}). Name another file with --out."
        ) from error
    print(f"Wrote {out}.", file=sys.stderr)
    return 0
