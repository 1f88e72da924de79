"""gunicorn's master process, with a reload and a stop that keep requests.

gunicorn's own reload stops the old workers before the new ones serve, ends the whole server if a new one cannot start,
and does nothing else until the old ones have finished. Here the old workers serve until all of the new ones do; then
they finish what they have, for as long as the longest `timeouts.total` of their gateway.yaml, while the master
goes on with its work.

A reload takes up new code, and SIGUSR1 asks for it: gunicorn would reopen log files, which the gateway has none of.
SIGHUP asks for less: the workers that run take up gateway.yaml, so that no connection ends.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.workers.base import Worker

from gateway import config_events, configuration, draining, in_force
from gateway.config import ConfigError
from gateway.history import Recorder

from . import watching
from .watching import WatchedFile
from .worker import Worker as WorkerClass

Workers = dict[int, Worker]


def serves(worker: Worker) -> bool:
    """Return whether the worker serves already.

    Its heartbeat, in time since the machine's start, is the time of a file that was made at a time of the calendar.
    """
    return bool(worker.tmp.last_update() <= time.monotonic())


class Master(Arbiter):  # type: ignore[misc]  # gunicorn is not typed
    """The parent of the workers."""

    # Those that serve, or soon will; those that serve until these do; those that finish what they have.
    WORKERS: Workers
    replaced: Workers
    leaving: Workers
    before: configuration.Loaded | None
    announced: bool
    drain_seconds: int
    # gateway.yaml, and where the workers that run find what is in force.
    config: Path
    copy: Path
    # The file, if its changes are taken up.
    watched: WatchedFile | None
    recorder: Recorder

    @classmethod
    def take_over(
        cls,
        arbiter: Any,  # noqa: ANN401  # gunicorn's
        drain_seconds: int,
        config: Path,
        copy: Path,
        recorder: Recorder,
        *,
        watch: bool,
    ) -> None:
        """Make gunicorn's arbiter one of these: gunicorn offers no setting for it."""
        arbiter.__class__ = cls
        arbiter.replaced, arbiter.leaving = {}, {}
        arbiter.before = None
        arbiter.announced = False
        arbiter.drain_seconds = drain_seconds
        arbiter.config, arbiter.copy = config, copy
        arbiter.watched = WatchedFile(config) if watch else None
        arbiter.recorder = recorder

    def spawn_worker(self) -> int:
        pid = int(super().spawn_worker())
        # The moment at which it is killed, once it has the signal to finish.
        self.WORKERS[pid].kill_at = 0.0
        return pid

    # A reload.

    def handle_usr1(self) -> None:
        """Start new workers, with the code and gateway.yaml as they are now."""
        self.log.info("Reloading")
        self.reload()

    def reload(self) -> None:
        """Start new workers; the old ones serve until these do."""
        self.before = configuration.loaded
        self.announced = False
        if self.replaced:
            # The last reload has not come to its end: its workers are not needed any more.
            self.finish(self.WORKERS)
        else:
            self.replaced = self.WORKERS
        self.WORKERS = {}
        super().reload()

    def manage_workers(self) -> None:
        """Replace workers that have ended, and let old ones go once new ones serve."""
        if self.watched and self.watched.has_changed():
            self.take_up_change("watch")
        super().manage_workers()
        self.recorder.tick()
        self.finish(self.leaving)
        if self.announced or not all(map(serves, self.WORKERS.values())):
            return
        self.announced = True
        replaced, self.replaced = self.replaced, {}
        self.record("config_loaded", str(configuration.loaded), by="reload" if replaced else "start")
        self.finish(replaced)
        self.log.info("%s serve %s", "New workers" if replaced else "Workers", configuration.loaded)

    # A change of gateway.yaml.

    def handle_hup(self) -> None:
        """Let the workers take up gateway.yaml; those that cannot, under another worker class, are replaced."""
        if not issubclass(self.worker_class, WorkerClass):
            super().handle_hup()
        elif self.take_up_change("SIGHUP"):
            self.log.info("gateway.yaml has not changed: %s", configuration.loaded)

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        """Wait for signals; shorter while a file is watched, and while workers start."""
        looks = self.watched or not self.announced
        return list(super().wait_for_signals(min(timeout, watching.INTERVAL) if looks else timeout))

    def take_up_change(self, by: str) -> bool:
        """Check the file, and let the workers take it up in their processes; a faulty one changes nothing.

        `by` is what asked for it. Return whether the file is in force already.
        """
        before = configuration.loaded
        try:
            taken = configuration.load_in_master(self.config, self.copy)
        except (ConfigError, OSError) as exc:
            faults = exc.faults if isinstance(exc, ConfigError) else (exc,)
            for fault in faults:
                self.log.error("gateway.yaml is not taken up: %s", fault)  # noqa: TRY400  # the faults say it all
            self.log.error("Still in force: %s", before)  # noqa: TRY400
            in_force.reject(len(faults))
            self.record("config_rejected", configuration.rejection(self.config, faults), by=by)
            return False
        in_force.accept()
        self.cfg.set("graceful_timeout", WorkerClass.graceful_seconds(taken.config))
        if before is not None and taken.digest == before.digest:
            return True
        self.record("config_loaded", str(taken), by=by)
        self.log.info("Workers take up %s", taken)
        return False

    def record(self, event: str, detail: str, *, by: str) -> None:
        config_events.put(self.copy.parent, event, by=by, detail=detail)

    def finish(self, workers: Workers) -> None:
        """Let workers finish what they have. One that does not serve yet would lose the signal, and gets it later."""
        for pid, worker in list(workers.items()):
            self.leaving[pid] = worker
            if serves(worker) and not worker.kill_at:
                worker.kill_at = time.monotonic() + worker.cfg.graceful_timeout
                self.kill_worker(pid, signal.SIGTERM)

    def give_up_reload(self) -> None:
        """Go on with the workers from before the reload."""
        new, self.WORKERS, self.replaced = self.WORKERS, self.replaced, {}
        self.finish(new)
        configuration.loaded = self.before
        if self.before:
            configuration.share(self.before, self.copy)
        self.announced = True
        detail = f"a new worker could not start; still in force: {configuration.loaded}"
        self.record("config_rejected", detail, by="reload")
        self.log.error("Not reloaded: a new worker could not start; the old ones go on with %s", configuration.loaded)

    # What gunicorn does with all workers.

    @contextmanager
    def everyone(self) -> Iterator[None]:
        self.WORKERS = self.WORKERS | self.replaced | self.leaving
        try:
            yield
        finally:
            alive = self.WORKERS
            self.replaced = {pid: worker for pid, worker in self.replaced.items() if pid in alive}
            self.leaving = {pid: worker for pid, worker in self.leaving.items() if pid in alive}
            others = self.replaced.keys() | self.leaving.keys()
            self.WORKERS = {pid: worker for pid, worker in alive.items() if pid not in others}

    def reap_workers(self) -> None:
        """Forget workers that have ended. One that cannot start ends the gateway only if there is no other."""
        try:
            with self.everyone():
                super().reap_workers()
        except HaltServer:
            if not self.replaced:
                raise
            self.give_up_reload()

    def murder_workers(self) -> None:
        with self.everyone():
            super().murder_workers()
        for pid, worker in self.leaving.items():
            if worker.kill_at and time.monotonic() > worker.kill_at:
                self.kill_worker(pid, signal.SIGKILL)

    def kill_workers(self, sig: int) -> None:
        with self.everyone():
            super().kill_workers(sig)

    # A stop.

    def handle_term(self) -> None:
        """Stop; first keep serving until load balancers have seen that this gateway stops.

        A second SIGTERM, from the operator or from the timer, ends that.
        """
        if draining.is_draining() or not self.drain_seconds:
            draining.begin()
            super().handle_term()
        draining.begin()
        self.log.info("Draining: /readyz is 503, and requests are served for another %d s", self.drain_seconds)
        again: Callable[..., None] = lambda *_: self.SIG_QUEUE.put_nowait(signal.SIGTERM)  # noqa: E731
        signal.signal(signal.SIGALRM, again)
        signal.setitimer(signal.ITIMER_REAL, self.drain_seconds)

    def stop(self, graceful: bool = True) -> None:
        self.WORKERS = self.WORKERS | self.replaced | self.leaving
        self.replaced, self.leaving = {}, {}
        # gunicorn kills those that have not finished by then.
        longest = max((worker.cfg.graceful_timeout for worker in self.WORKERS.values()), default=0)
        self.cfg.set("graceful_timeout", max(self.cfg.graceful_timeout, longest))
        for pid, worker in list(self.WORKERS.items()):
            if not serves(worker):
                # It has no requests, and would lose the signal.
                del self.WORKERS[pid]
                self.kill_worker(pid, signal.SIGKILL)
        super().stop(graceful)
        self.recorder.save(time.time())
