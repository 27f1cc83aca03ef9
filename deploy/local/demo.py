"""`make demo`: the whole system on one machine, from simulated bracelets to Delta tables and PostgreSQL.

`DEMO_SECONDS=90` stops it after 90 seconds. At the end the bracelets stop measuring, every stage drains, and
`evidence/demo.json` is written with the readings of each stage. The exit code is 0 only if none was lost.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from cloud_ingest.privacy.pseudonyms import load_key
from deploy.local import view
from deploy.local.process import ServiceError
from deploy.local.stack import Stack, assigned_bracelets
from deploy.local.stage_counts import StageCounts, StageSources
from runtime.file_lock import locked
from vitals.pseudonym import ClearIdentifiers

REPOSITORY = Path(__file__).parents[2]
DRAIN_LIMIT_S = 120
COUNT_EVERY_S = 5
_CHILDREN = ("Awa", "Moussa", "Fatou", "Kofi", "Aminata")
"""Made-up names, shown in this terminal only."""


class Demo:
    """One run, from the first process to the written evidence.

    Args:
        stack: the processes to run.
        seconds: stop after this many seconds of measuring; None runs until interrupted.
        console: console for progress.
    """

    def __init__(self, stack: Stack, seconds: float | None, console: Console) -> None:
        self._stack, self._seconds, self._console = stack, seconds, console
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._silver_before = 0
        self._first_silver_s: float | None = None
        self._counts: StageCounts | None = None

    def run(self, evidence: Path) -> int:
        """Run the demo.

        Args:
            evidence: file the figures are written to.

        Returns:
            0 if every stage has every reading, else 1.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        try:
            self._stack.start(self._report_progress)
            self._insert_display_names()
            sources = self._stack.stage_sources()
            self._watch(sources)
            if not self._stack.services["bracelets"].running:
                self._report_progress(
                    f"the bracelets exited early:\n{self._stack.services['bracelets'].tail()}"
                )
            counts = self._drain(sources)
        except ServiceError as error:
            self._console.print(f"✗ {error}", style="bold red", markup=False)
            return 1
        finally:
            self._report_progress("stopping")
            self._stack.stop()
        return self._report(counts, evidence)

    def _report_progress(self, message: str) -> None:
        self._console.print(
            f"[dim]{time.monotonic() - self._started:5.1f} s[/] {escape(message)}", soft_wrap=True
        )

    def _restart_ended(self) -> None:
        for name in self._stack.restart_ended():
            self._report_progress(f"{name} had exited and was restarted")

    def _watch(self, sources: StageSources) -> None:
        """Show the running system until stopped or the time is over."""
        self._silver_before = sources.critical_rows()
        end = time.monotonic() + self._seconds if self._seconds else None
        self._report_progress("running; the first critical alert reaches silver within a minute or so")
        counting = threading.Thread(target=self._keep_counting, args=(sources,), daemon=True)
        counting.start()
        with self._screen() as draw:
            while not self._stop.wait(1 if self._console.is_terminal else 5):
                if end and time.monotonic() >= end:
                    break
                self._restart_ended()
                draw(f"running, {end - time.monotonic():.0f} s to go" if end else "running")
        self._stop.set()
        counting.join()

    def _keep_counting(self, sources: StageSources) -> None:
        """Count repeatedly, but for at most a tenth of the time: counting takes longer as data grows."""
        next_count = 0.0
        while not self._stop.wait(1):
            self._check_silver(sources)
            started = time.monotonic()
            if started >= next_count:
                self._counts = sources.count()
                duration = time.monotonic() - started
                next_count = started + max(COUNT_EVERY_S, 10 * duration)

    def _check_silver(self, sources: StageSources) -> None:
        if self._first_silver_s is None and sources.critical_rows() > self._silver_before:
            self._first_silver_s = time.monotonic() - self._started
            self._report_progress(f"first row in silver after {self._first_silver_s:.1f} s")

    @contextmanager
    def _screen(self) -> Iterator[view.Draw]:
        if not self._console.is_terminal:
            yield lambda _headline: self._report_progress(view.line(self._stack, self._counts))
            return
        with Live(console=self._console, auto_refresh=False) as live:
            yield lambda headline: live.update(view.screen(self._stack, self._counts, headline), refresh=True)

    def _drain(self, sources: StageSources) -> StageCounts:
        """Wait until the last readings have reached every stage, then count."""
        self._report_progress("draining: the bracelets have stopped measuring")
        self._stack.stop_measuring()
        deadline = time.monotonic() + DRAIN_LIMIT_S
        counts = sources.count()
        while counts.lost() and time.monotonic() < deadline:
            time.sleep(2)
            self._restart_ended()
            self._check_silver(sources)
            counts = sources.count()
        self._check_silver(sources)
        return counts

    def _report(self, counts: StageCounts, evidence: Path) -> int:
        lost = counts.lost()
        figures = {
            "stages": counts.stages(),
            "lost": sum(lost.values()),
            "duplicated": counts.duplicated(),
            "seconds_to_first_silver": round(self._first_silver_s, 1) if self._first_silver_s else None,
            "lost_by_stage": lost,
            "redelivered": {"kafka": counts.kafka.repeated(), "raw": counts.raw.repeated()},
        }
        evidence.parent.mkdir(parents=True, exist_ok=True)
        evidence.write_text(json.dumps(figures, indent=2) + "\n")
        self._console.print_json(data=figures)
        if lost:
            self._console.print(f"✗ readings lost: {lost}", style="bold red")
            return 1
        self._console.print("✓ every stage has every reading", style="bold green")
        return 0

    def _insert_display_names(self) -> None:
        """Insert names of the made-up children; only the identity schema has them."""
        clear = os.environ.get("PSEUDONYMISATION") == "off"
        pseudonyms = ClearIdentifiers() if clear else load_key(self._stack.pseudonym_key)
        rows = [
            (pseudonyms.pseudonym(worn["patient_id"]), name)
            for worn, name in zip(assigned_bracelets(), _CHILDREN, strict=True)
        ]
        with closing(self._stack.dsn.connect()) as connection, connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO identity.patients VALUES (%s, %s) ON CONFLICT DO NOTHING", rows)


@contextmanager
def exclusive_directory(root: Path) -> Iterator[None]:
    """Lock the demo's directory; a second demo on the same data would corrupt both.

    Raises:
        ServiceError: another process holds the lock.
    """
    root.mkdir(parents=True, exist_ok=True)
    try:
        with locked(root):
            yield
    except BlockingIOError:
        raise ServiceError(
            f"a demo is already running on {root}; stop it, or choose another directory with DEMO_DIR"
        ) from None


def main() -> int:
    """Entry point of `make demo`."""
    console = Console()
    root = Path(os.environ.get("DEMO_DIR") or REPOSITORY / "data")
    lake = Path(os.environ.get("DATA_LAKE_PATH") or REPOSITORY / "data_lake")
    try:
        seconds = float(os.environ["DEMO_SECONDS"]) if os.environ.get("DEMO_SECONDS") else None
    except ValueError:
        console.print("✗ DEMO_SECONDS must be a number of seconds, as in DEMO_SECONDS=90", style="bold red")
        return 2
    try:
        with exclusive_directory(root):
            return Demo(Stack(root, lake), seconds, console).run(REPOSITORY / "evidence" / "demo.json")
    except ServiceError as error:
        console.print(f"✗ {error}", style="bold red", markup=False)
        return 1


if __name__ == "__main__":
    sys.exit(main())
