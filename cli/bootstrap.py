"""Makes or refreshes `.venv` with plain venv and pip, and says so. Run by every target of the Makefile.

It must start on any Python there is, to say in one sentence that it is too old: no syntax newer than Python 2.7 here.
What is installed is what pyproject.toml and constraints.txt say; the stamp in `.venv` remembers their hash and the extras.
"""

import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "ledgerline-stamp")
OLDEST, NEWEST = (3, 10), (3, 13)


def refuse(sentence):
    sys.stderr.write("ledgerline: %s\n" % sentence)
    sys.exit(1)


def fingerprint():
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        with open(os.path.join(ROOT, name), "rb") as f:
            digest.update(f.read())
    digest.update(("%d.%d" % sys.version_info[:2]).encode())
    return digest.hexdigest()


def read_stamp():
    """(fingerprint, extras) of the environment that is there; ("", set()) where there is none."""
    if not os.path.exists(STAMP):
        return "", set()
    with open(STAMP) as f:
        lines = f.read().split("\n")
    return lines[0], set(filter(None, lines[1].split(",")))


def main():
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        refuse(
            "Python %d.%d cannot run it; install Python %d.%d to %d.%d and say `make PYTHON=python3.11 ...`."
            % (sys.version_info[:2] + OLDEST + NEWEST)
        )
    try:
        import ensurepip  # noqa: F401  Debian ships venv without it
        import venv  # noqa: F401
    except ImportError:
        refuse(
            "this Python has no `venv` module; on Debian or Ubuntu: `apt-get install python%d.%d-venv`, then try again."
            % sys.version_info[:2]
        )
    wanted = set(sys.argv[1:])
    now = fingerprint()
    was, extras = read_stamp()
    if was == now and wanted <= extras:
        return
    extras |= wanted
    python = os.path.join(VENV, "bin", "python")
    print(
        "ledgerline: installing into .venv (%s), about two minutes the first time ..." % ("stale" if was else "missing")
    )
    if os.path.exists(STAMP):
        os.remove(STAMP)  # an install that is cut short must not look finished
    target = ".[%s]" % ",".join(sorted(extras)) if extras else "."
    commands = [
        [sys.executable, "-m", "venv", VENV],
        [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-c",
            "constraints.txt",
            "-e",
            target,
        ],
    ]
    for command in commands:
        if subprocess.call(command, cwd=ROOT) != 0:
            refuse("`%s` failed (see above); mend that and try again." % " ".join(command))
    with open(STAMP, "w") as f:
        f.write("%s\n%s\n" % (now, ",".join(sorted(extras))))
    print("ledgerline: .venv is ready")


if __name__ == "__main__":
    main()
