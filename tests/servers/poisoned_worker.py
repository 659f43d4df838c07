"""parse_worker as it is, but for filings that tests wrote to do harm, as a fault in a C library would: a body with

`POISON` kills the process each time; `DIES-ONCE[path]` the first time, which leaves a file at the path;
`HANGS[path]` writes the process's id to the path and never returns.
"""

import os
import re
import signal
import time
from pathlib import Path

from ledgerline.filings import documents
from resources import parse_worker

parse = documents.parse_filing


def parse_filing(source, body):
    if b"POISON" in body:
        print("the parser met POISON", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if once := re.search(rb"DIES-ONCE\[(.+?)\]", body):
        marker = Path(once.group(1).decode())
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if hangs := re.search(rb"HANGS\[(.+?)\]", body):
        path = Path(hangs.group(1).decode())
        path.with_suffix(".new").write_text(str(os.getpid()))
        path.with_suffix(".new").rename(path)
        time.sleep(600)
    return parse(source, body)


if __name__ == "__main__":
    documents.parse_filing = parse_filing
    parse_worker.main()
