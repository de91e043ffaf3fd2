"""What a newcomer waits for: `make demo` in a fresh clone, set-up and demo told apart.

    .venv/bin/python bench/demo.py [--repeat 3] [--json FILE]

Each turn clones this repository's last commit into a temporary folder and runs `make setup`, then `make demo`, from
nothing but pip's cache: the first turn fills the cache and is not counted (`--cold` counts it).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WANTED_S = 90.0


def timed(command: list[str], folder: Path) -> float:
    """Seconds of a command; its output is shown only if it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON", "VIRTUAL_ENV"))}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return seconds


def once() -> dict[str, float]:
    """One newcomer."""
    with tempfile.TemporaryDirectory(prefix="slackwater-bench-") as name:
        folder = Path(name) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        setup_s = timed(["make", "setup"], folder)
        demo_s = timed(["make", "demo"], folder)
        again_s = timed(["make", "demo"], folder)  # all byte code is there now
    return {"setup_s": setup_s, "demo_s": demo_s, "total_s": setup_s + demo_s, "again_s": again_s}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--cold", action="store_true", help="count the first turn too")
    arguments.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON too")
    given = arguments.parse_args()
    turns = []
    for turn in range(given.repeat + (not given.cold)):
        found = once()
        counted = given.cold or turn > 0
        told = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found.items())
        print(f"  {turn}: {told}{'' if counted else ' (not counted)'}", file=sys.stderr)
        if counted:
            turns.append(found)
    report: dict[str, Any] = {"repeat": given.repeat, "wanted_s": WANTED_S}
    for name in turns[0]:
        values = [turn[name] for turn in turns]
        report[name] = {
            "median": round(statistics.median(values), 1),
            "min": round(min(values), 1),
            "max": round(max(values), 1),
        }
    print(f"median of {given.repeat}, in brackets the fastest and the slowest; wanted: under {WANTED_S:.0f} s in all")
    for name, what in (
        ("setup_s", "make setup"),
        ("demo_s", "make demo, the first"),
        ("total_s", "both: from nothing"),
        ("again_s", "make demo again"),
    ):
        found = report[name]
        print(f"{what:22}{found['median']:7.1f} s ({found['min']:.1f}–{found['max']:.1f})")
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
