"""`make demo`: the whole system on one machine, from simulated bracelets to Delta tables and PostgreSQL.

`DEMO_SECONDS=90` stops it by itself. At the end the bracelets stop measuring, every stage drains, and
`evidence/demo.json` says what each stage holds. The exit code is 0 only when no reading was lost.
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
"""Made-up names, shown on this screen only."""


class Demo:
    """One run, from the first process to the written evidence.

    Args:
        stack: what to run.
        seconds: stop after this many seconds of measuring; never where None.
        console: where progress is shown.
    """

    def __init__(self, stack: Stack, seconds: float | None, console: Console) -> None:
        self._stack, self._seconds, self._console = stack, seconds, console
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._silver_before = 0
        self._first_silver_s: float | None = None
        self._census: StageCounts | None = None

    def run(self, evidence: Path) -> int:
        """Run to the end.

        Args:
            evidence: file the figures are written to.

        Returns:
            0 when every stage holds every reading, 1 otherwise.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        try:
            self._stack.start(self._say)
            self._name_children()
            stage_sources = self._stack.stage_sources()
            self._watch(stage_sources)
            if not self._stack.services["bracelets"].running:
                self._say(f"the bracelets ended early:\n{self._stack.services['bracelets'].tail()}")
            census = self._drain(stage_sources)
        except ServiceError as error:
            self._console.print(f"✗ {error}", style="bold red", markup=False)
            return 1
        finally:
            self._say("stopping")
            self._stack.stop()
        return self._report(census, evidence)

    def _say(self, message: str) -> None:
        self._console.print(
            f"[dim]{time.monotonic() - self._started:5.1f} s[/] {escape(message)}", soft_wrap=True
        )

    def _restart_ended(self) -> None:
        for name in self._stack.restart_ended():
            self._say(f"{name} had ended and is started again")

    def _watch(self, stage_sources: StageSources) -> None:
        """Show the running system until it is time to stop."""
        self._silver_before = stage_sources.critical_rows()
        end = time.monotonic() + self._seconds if self._seconds else None
        self._say("running; the first critical alert reaches silver within a minute or so")
        counting = threading.Thread(target=self._keep_counting, args=(stage_sources,), daemon=True)
        counting.start()
        with self._screen() as draw:
            while not self._stop.wait(1 if self._console.is_terminal else 5):
                if end and time.monotonic() >= end:
                    break
                self._restart_ended()
                draw(f"running, {end - time.monotonic():.0f} s to go" if end else "running")
        self._stop.set()
        counting.join()

    def _keep_counting(self, stage_sources: StageSources) -> None:
        """Count again and again, but a tenth of the time at most: a count grows with what there is."""
        next_count = 0.0
        while not self._stop.wait(1):
            self._look_for_silver(stage_sources)
            began = time.monotonic()
            if began >= next_count:
                self._census = stage_sources.count()
                took = time.monotonic() - began
                next_count = began + max(COUNT_EVERY_S, 10 * took)

    def _look_for_silver(self, stage_sources: StageSources) -> None:
        if self._first_silver_s is None and stage_sources.critical_rows() > self._silver_before:
            self._first_silver_s = time.monotonic() - self._started
            self._say(f"first row in silver after {self._first_silver_s:.1f} s")

    @contextmanager
    def _screen(self) -> Iterator[view.Draw]:
        if not self._console.is_terminal:
            yield lambda _headline: self._say(view.line(self._stack, self._census))
            return
        with Live(console=self._console, auto_refresh=False) as live:
            yield lambda headline: live.update(view.screen(self._stack, self._census, headline), refresh=True)

    def _drain(self, stage_sources: StageSources) -> StageCounts:
        """Let the last readings arrive everywhere, then count."""
        self._say("draining: the bracelets have stopped measuring")
        self._stack.stop_measuring()
        deadline = time.monotonic() + DRAIN_LIMIT_S
        census = stage_sources.count()
        while census.lost() and time.monotonic() < deadline:
            time.sleep(2)
            self._restart_ended()
            self._look_for_silver(stage_sources)
            census = stage_sources.count()
        self._look_for_silver(stage_sources)
        return census

    def _report(self, census: StageCounts, evidence: Path) -> int:
        lost = census.lost()
        figures = {
            "stages": census.stages(),
            "lost": sum(lost.values()),
            "duplicated": census.duplicated(),
            "seconds_to_first_silver": round(self._first_silver_s, 1) if self._first_silver_s else None,
            "lost_by_stage": lost,
            "redelivered": {"kafka": census.kafka.repeated(), "raw": census.raw.repeated()},
        }
        evidence.parent.mkdir(parents=True, exist_ok=True)
        evidence.write_text(json.dumps(figures, indent=2) + "\n")
        self._console.print_json(data=figures)
        if lost:
            self._console.print(f"✗ readings lost: {lost}", style="bold red")
            return 1
        self._console.print("✓ every stage holds every reading", style="bold green")
        return 0

    def _name_children(self) -> None:
        """Give the made-up children names; only the clinicians' schema holds them."""
        clear = os.environ.get("PSEUDONYMISATION") == "off"
        pseudonyms = ClearIdentifiers() if clear else load_key(self._stack.pseudonym_key)
        rows = [
            (pseudonyms.pseudonym(worn["patient_id"]), name)
            for worn, name in zip(assigned_bracelets(), _CHILDREN, strict=True)
        ]
        with closing(self._stack.dsn.connect()) as connection, connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO identity.patients VALUES (%s, %s) ON CONFLICT DO NOTHING", rows)


@contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Hold the demo's directory; a second demo on the same data would corrupt both.

    Raises:
        ServiceError: somebody else holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    try:
        with locked(root):
            yield
    except BlockingIOError:
        raise ServiceError(
            f"a demo already runs on {root}; stop it, or choose another directory with DEMO_DIR"
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
        with only_one(root):
            return Demo(Stack(root, lake), seconds, console).run(REPOSITORY / "evidence" / "demo.json")
    except ServiceError as error:
        console.print(f"✗ {error}", style="bold red", markup=False)
        return 1


if __name__ == "__main__":
    sys.exit(main())
