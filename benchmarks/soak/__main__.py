"""A soak: many generated sessions at full speed, with dashboard, alerts and watchdog, and processes that end at random.

    python -m benchmarks.soak --state DIR --sessions 60      run until DIR has 60 sessions; the same command goes on
    python -m benchmarks.soak --state DIR --sessions 300 --spare-trader
                                                             and never end the trader, to see how one process grows
    python -m benchmarks.soak --state DIR                    print the table of what DIR has
    python -m benchmarks.soak --state DIR --picture FILE     and draw its curves
    python -m benchmarks.soak --state DIR --sessions 8 --trace
                                                             and write what the trader's memory holds: DIR/memory.jsonl

The trader trades the generated market with the exchange's mild behaviour.  Its alerts go to a server on loopback.  A
client listens to the dashboard's live stream and reads its pages.  In some sessions the trader, the watchdog or the
dashboard is killed or stopped at a random moment, and started again; what happens in a session depends on its number
and on --seed alone.  DIR/sessions.jsonl gets a line a session as the run goes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.soak.rows import Row, picture, table
from benchmarks.soak.run import Soak
from tests.alerts.receiver import receiver


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", type=Path, required=True, help="folder of the soak")
    parser.add_argument("--sessions", type=int, default=0, help="sessions that the folder has in the end")
    parser.add_argument("--seed", type=int, default=1, help="of the moments at which processes end")
    parser.add_argument("--every", type=int, default=1, help="print every Nth session")
    parser.add_argument("--spare-trader", action="store_true", help="end the watchdog and the dashboard only")
    parser.add_argument("--trace", action="store_true", help="note what the trader's memory holds")
    parser.add_argument("--picture", type=Path, help="PNG file of the curves")
    options = parser.parse_args()
    state: Path = options.state.absolute()
    if options.sessions:
        with receiver() as web:
            Soak(state, web, options.seed, trace=options.trace, spare_trader=options.spare_trader).go(options.sessions)
    rows = Row.read(state)
    print(table(rows, options.every))
    if options.picture:
        options.picture.write_bytes(picture(rows))


if __name__ == "__main__":
    main()
