"""Both regulators' servers for a person: `python -m tests.servers` runs them by the real clock and says how to read them.

A recorded (or generated) day is replayed as today and as the business days before it: filings appear by the clock at which
they once did. For trying out the live mode, and for a soak, without asking the real regulators for anything.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

from ledgerline.filings.times import SATURDAY, eastern_day, korean_day
from tests.servers.dart import DartServer, korean_reports
from tests.servers.edgar import EdgarServer
from tests.servers.edgar_filings import a_day_of_filings, moved


def business_days(last: date, count: int) -> list[date]:
    """The newest `count` weekdays up to `last`, oldest first."""
    days = (last - timedelta(days=back) for back in range(2 * count + 2))
    return sorted([day for day in days if day.weekday() < SATURDAY][:count])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--filings", type=int, default=300, help="of EDGAR a day (default 300; a real day has 3,300)")
    parser.add_argument("--reports", type=int, default=60, help="of DART a day (default 60)")
    parser.add_argument("--days", type=int, default=2, help="today and the business days before it (default 2)")
    given = parser.parse_args()
    now = datetime.now(timezone.utc)

    def clock() -> datetime:
        return datetime.now(timezone.utc)

    with tempfile.TemporaryDirectory() as sample:
        recorded, filings = a_day_of_filings(Path(sample), limit=given.filings)
        days = business_days(eastern_day(now), given.days)
        edgar = [one for day in days for one in moved(filings, (day - recorded).days)]
        dart = korean_reports(business_days(korean_day(now), given.days), per_day=given.reports)
        with EdgarServer(edgar, clock=clock, per_second=10) as one, DartServer(dart, clock=clock) as other:
            print(
                f"EDGAR: {len(edgar)} filings, {', '.join(map(str, days))}; DART: {len(dart)} reports. In another shell:"
            )
            print(f'export EDGAR_USER_AGENT="Example Research data@example.com" EDGAR_URL={one.url}')
            print(f"export DART_API_KEY={other.key} DART_URL={other.url}")
            print("make dev    (Ctrl-C here ends the servers)", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
            print(f"EDGAR was asked {len(one.requests)} times, {one.asked_while_banned} of them during a ban.")
            print(f"DART was asked {len(other.requests)} times, {other.asked_over_quota} of them over the key's quota.")


if __name__ == "__main__":
    main()
