"""Runs one command so that it can neither outlive the server nor escape a stop: `guard.py GRACE_SECONDS COMMAND ...`.

stdin is a lifeline held by the server: when it closes (a server that was killed) or when SIGTERM comes, the command's
whole process group gets SIGTERM, and SIGKILL after the grace. stdout and stderr are the command's own. Exit code: the
command's, or 128 + signal. Run as `python -I -S`, so that nothing in the command's environment reaches it.
"""

import contextlib
import os
import select
import signal
import sys
import time


def run_command(command: list) -> None:
    """Become the command, in a session of its own, with stdin at /dev/null. Never returns."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the point of the guard: never through a shell
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # no setsid yet, or the group is gone
        os.killpg(pid, number)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def main() -> int:
    grace, command = float(sys.argv[1]), sys.argv[2:]
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    stopping = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the server's to handle
    signal.set_wakeup_fd(wake_write)
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.close(wake_read)
        os.close(wake_write)
        run_command(command)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the server sees the end of the output when the command ends
    os.dup2(1, 2)
    deadline = None
    sources = [0, wake_read]
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            signal_group(child, signal.SIGKILL)  # whatever the command left behind
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        if stopping and deadline is None:
            deadline = time.monotonic() + grace
            signal_group(child, signal.SIGTERM)
        if deadline is not None and time.monotonic() >= deadline:
            signal_group(child, signal.SIGKILL)
            deadline = time.monotonic() + 1.0
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = select.select(sources, [], [], wait)[0]
        if wake_read in ready:
            os.read(wake_read, 1024)
        if 0 in ready and not os.read(0, 1024):
            sources.remove(0)
            stopping.append(True)


if __name__ == "__main__":
    sys.exit(main())
