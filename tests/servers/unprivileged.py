"""A user and a folder for servers that refuse to run as root. Which server runs there is in its own module."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from pathlib import Path
from typing import Any

TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")


def user_of(name: str) -> dict[str, Any]:
    """What `subprocess` needs to run as a user where this one is root, else nothing. Raises KeyError if there is none."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(name)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def new_home(server: str, as_user: dict[str, Any]) -> Path | None:
    """A new folder in the first temporary one that the user can enter, or None where there is none."""
    for parent in dict.fromkeys((tempfile.gettempdir(), *TEMPORARY)):
        if not os.path.isdir(parent) or not os.access(parent, os.W_OK):
            continue
        home = Path(tempfile.mkdtemp(prefix=f"ledgerline-{server}-", dir=parent))
        if not as_user:
            return home
        os.chown(home, as_user["user"], as_user["group"])
        if subprocess.run(["test", "-w", str(home)], cwd="/", **as_user).returncode == 0:
            return home
        home.rmdir()
    return None
