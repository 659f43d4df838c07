"""`make new-project NAME=x`: a working model project with tests, for a data scientist to change.

What is written learns to tell two classes from numbers of a lake table, with numpy alone. It is written beside the others
at once or not at all.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from ledgerline.errors import ConfigurationError
from ledgerline.projects.config import load_project
from ledgerline.projects.sections import NAME_LENGTH, NAME_PATTERN

TEMPLATE = Path(__file__).parent / "project_template"
NAME = "PROJECT_NAME"  # stands for the name in the files of the template
SUFFIX = ".tmpl"  # keeps tools from taking the template for code of this project


def new_project(name: str, root: Path) -> int:
    """Write `root`/`name`, check it as the code location will, and say what to do next.

    Raises ConfigurationError for a name that cannot be one, or that is there already.
    """
    folder = write_project(name, root)
    load_project(folder)
    shown = f"{root.name}/{name}"
    print(f"wrote {folder}, which learns from the lake table `{name}_examples`.")
    print(f"  its tests:       python -m pytest {shown}")
    print(f"  made-up rows:    python {shown}/tests/made_up_rows.py rows.parquet")
    print(f"                   python -m cli load-table {name}_examples rows.parquet")
    print("  your own rows:   an asset that writes the table, or another table in config.yaml (dataset)")
    print(f"  then:            dagster job execute -m platform_assets.definitions -j train_{name}")
    print("                   (in the UI: Deployment, Reload, and the job of that name)")
    return 0


def write_project(name: str, root: Path) -> Path:
    """The folder of the new project. Raises ConfigurationError with the remedy."""
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > NAME_LENGTH:
        suggestion = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")[:NAME_LENGTH].strip("_")
        raise ConfigurationError(
            f"{name!r} cannot name a model project: lower-case letters, digits and single underscores, at most "
            f"{NAME_LENGTH}, a letter first. Write e.g. make new-project NAME={suggestion or 'churn'}."
        )
    folder = root / name
    if folder.exists():
        raise ConfigurationError(
            f"{folder} is there already, and nothing was written. Choose another name, or edit that project."
        )
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".new-") as scratch:
        made = Path(scratch) / name
        for source in sorted(TEMPLATE.rglob(f"*{SUFFIX}")):
            target = made / source.relative_to(TEMPLATE).with_suffix("")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source.read_text(encoding="utf-8").replace(NAME, name), encoding="utf-8")
        shutil.move(made, folder)  # a rename: the folder is there whole or not at all
    return folder
