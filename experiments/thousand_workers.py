"""What does a driver of a thousand workers cost, and what do fifty drivers of one database lose?

(a) 1,000 workers on 125 simulated nodes, 10% of which leave within an hour and are replaced after
    ten minutes: 20,000 trainings of three epochs, ten minutes of virtual time each, recorded in an
    sqlite study. For `random`, `predictor`, and `predictor` with ASHA: processor milliseconds of
    the driver for each finished training (all of its process except the simulation, whose own
    processor time is `simulation_seconds`), also by quarters of the search; processor milliseconds
    of a proposal when 10,000 trainings are known; peak memory; trainings lost or repeated.
(b) 50 drivers with 20 workers each on one PostgreSQL database, in five processes, one of which is
    killed half-way: trainings lost or repeated, finished trainings per second, processor
    milliseconds of each. Needs TEST_POSTGRESQL_URL; python tests/nas/postgresql.py COMMAND runs a
    server.
(c) a study of 100,000 rows, opened and read into a history as --resume does: processor seconds and
    peak memory.

Times are processor times (time.process_time), because the machine has other load; linear algebra
uses one thread. Each part runs in a process of its own. Goals: 10 ms, 50 ms, 2 GB, nothing lost or
repeated, 30 s. Results are written after each part. `--share .05` makes all sizes twenty times
smaller, as a trial run, and writes to another place. Time: 20 minutes on one core. Command:

    python tests/nas/postgresql.py python -m experiments.thousand_workers
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.thousand_workers")

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.lib.arguments import HIDDEN, experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from vbs.console import print_err, print_out
from vbs.folder import write_json
from vbs.json_text import parse_json
from vbs.text import one_of

RESULT = RESULTS / "thousand_workers.json"
URL = "TEST_POSTGRESQL_URL"
WORKERS, TRAININGS, ROWS, DRIVERS = 1_000, 20_000, 100_000, 50
PARTS = ("random", "predictor", "predictor-asha", "drivers", "resume")
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def measured(part: str, share: float) -> dict[str, Any]:
    """Measure a part in a process of its own; return its measurements."""
    command = [sys.executable, "-m", "experiments.thousand_workers", "--only", part]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "found.json")
        environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
        words = [*command, "--share", str(share), "--found", str(path)]
        subprocess.run(words, check=True, env=environment)
        found: dict[str, Any] = parse_json(path.read_bytes())
    return found


def one_part(part: str, share: float) -> dict[str, Any]:
    """Measure a part in this process; return its measurements."""
    from experiments.lib import driver_cost

    if part == "drivers":
        return driver_cost.many_drivers(
            os.environ[URL], drivers=DRIVERS, trainings=int(share * TRAININGS)
        )
    if part == "resume":
        return driver_cost.resumed(rows=int(share * ROWS))
    strategy, _, asha = part.partition("-")
    workers = max(8, int(share * WORKERS)) if share < 0.1 else WORKERS
    return driver_cost.one_driver(
        strategy, workers=workers, trainings=int(share * TRAININGS), asha=bool(asha)
    )


def main() -> int:
    """Measure the requested parts (default: all), and write each to the result file."""
    parser = experiment_arguments(__doc__)
    parser.add_argument(
        "--parts", default=",".join(PARTS), help="parts to measure, comma-separated"
    )
    parser.add_argument("--share", type=float, default=1.0, help="factor of all sizes (default 1)")
    parser.add_argument("--only", choices=PARTS, help=HIDDEN)
    parser.add_argument("--found", type=Path, help=HIDDEN)
    options = parser.parse_args()
    if options.only:
        write_json(options.found, one_part(options.only, options.share))
        return 0
    parts = [one_of("--parts", each, PARTS) for each in options.parts.split(",")]
    if parts == ["drivers"] and not os.environ.get(URL):
        raise ValueError(
            f"--parts drivers: needs a database; set {URL} to the URL of a PostgreSQL database, "
            "e.g. postgresql://USER@HOST/NAME, or use python tests/nas/postgresql.py COMMAND"
        )
    place = RESULT if options.share == 1 else Path(tempfile.gettempdir(), RESULT.name)
    known = parse_json(place.read_bytes()) if place.is_file() else {}
    for part in parts:
        if part == "drivers" and not os.environ.get(URL):
            print_err(f"drivers: left out, {URL} names no database; see --help")
            continue
        known = {
            **known,
            "settings": {
                "workers": WORKERS,
                "trainings": TRAININGS,
                "rows": ROWS,
                "drivers": DRIVERS,
                "share": options.share,
            },
            **settings_of_machine(),
            part: measured(part, options.share),
        }
        write_json(place, known)
        print_out(*json.dumps({part: known[part]}, indent=1).splitlines())
    print_out(f"results: {place}")
    return 0
