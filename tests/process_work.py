"""What processes of tests do: they import this module by its name."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from aecodec.cli import batch
from aecodec.cli.folders import Job, Outcome, Plan
from aecodec.cli.reporter import Reporter


def die(folder: Path, name: str) -> str:
    """Answer, but always die of one name, and of another only the first time."""
    seen = folder / "seen"
    if name == "always" or (name == "once" and not seen.exists()):
        seen.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def block(job: Job) -> Outcome:
    """Do the first file; of others tell through a pipe that they are begun, and never end."""
    if job.source.name != "a":
        os.write(os.open(job.source.parent / "pipe", os.O_WRONLY), b"b")
        signal.pause()
    return Outcome(str(job.source), str(job.target), "done")


def main(folder: Path) -> None:
    """A run of three files in two processes that ends when it is told to."""
    jobs = [Job(folder / name, folder / f"{name}.aec") for name in "abc"]
    engine = batch.engine(2)
    found = Plan(jobs, [], {})
    batch.run(
        found, block, engine, lambda _: False, dry_run=False, report=folder / "report.csv", teller=Reporter(quiet=True)
    )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except batch.Stopped as stopped:
        sys.exit(stopped.exit_code)
