"""The daemon: what its parts are, how they begin, follow the settings, and end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from reaper import __version__
from reaper.compose import source_names
from reaper.config.settings import Settings
from reaper.core.errors import ReaperError
from reaper.daemon.configuration import ConfigurationFiles, Loaded
from reaper.daemon.jobs import JobSpec, unscheduled
from reaper.daemon.leadership import Leadership
from reaper.daemon.recording import Recorder
from reaper.daemon.schedules import Schedules, interval, was_missed
from reaper.daemon.station import Station
from reaper.notify import Notice, Notifier, Receiver
from reaper.observe.metrics import Metrics
from reaper.protect import SourceState
from reaper.registry import parse_address
from reaper.store import Store, StoreError
from reaper.web.state import Configuration, Job, Status

_log = structlog.get_logger(__name__)

#: How often, in seconds, the files of the configuration are compared with what is in force.
WATCH_EVERY: Final = 5.0
#: How long to wait, in seconds, before the next try to put a registry back that is left read-only.
RECOVER_EVERY: Final = 60.0
#: How often, in seconds, to look into the store for what other processes have done.
LOOK_UP_EVERY: Final = 60.0
_BEAT_EVERY: Final = 1.0
#: A heartbeat that is older, in seconds, means that the event loop hangs.
_DEAD_AFTER: Final = 60.0
#: Settings that a running daemon cannot change.
_FIXED: Final = ("store", "web", "leader_election")


class Daemon:
    """Runs and collects on schedules until it is stopped; it is what the web side asks about."""

    def __init__(
        self,
        files: ConfigurationFiles,
        loaded: Loaded,
        *,
        store: Store,
        metrics: Metrics,
        leadership: Leadership,
        clock: Callable[[], datetime],
        watch_every: float = WATCH_EVERY,
    ) -> None:
        self._files = files
        self._loaded = loaded
        self._fingerprint = files.fingerprint(loaded)
        self._store = store
        self._metrics = metrics
        self._leadership = leadership
        self._clock = clock
        self._watch_every = watch_every
        self._started = clock()
        self._heartbeat = time.monotonic()
        self._error: str | None = None
        self._failed_at: datetime | None = None
        self._rejected: bytes | None = None
        self._schedules = Schedules(self._fire)
        self._turns: dict[str, asyncio.Lock] = {}
        self._stations: dict[str, Station] = {}
        self._running: dict[JobSpec, datetime] = {}
        self._last: dict[JobSpec, datetime] = {}
        self._at_work: dict[asyncio.Task[None], Station] = {}
        self._put_back: set[str] = set()
        self._stop = asyncio.Event()

    # What the web side asks.

    def status(self) -> Status:
        """Return what the daemon is doing."""
        loaded = self._loaded
        return Status(
            version=__version__,
            started_at=self._started,
            dry_run=loaded.settings.dry_run,
            leader=self._leadership.leads,
            configuration=Configuration(
                loaded_at=loaded.at,
                error=self._error,
                failed_at=self._failed_at,
                files=tuple(str(path) for path in self._files.files(loaded)),
            ),
            registries={one.name: _url(one.url) for one in loaded.settings.registries},
            jobs=tuple(self._job(spec) for spec in loaded.jobs),
        )

    def dead(self) -> str | None:
        """Return why the process should be restarted, or None while it is well."""
        silent = time.monotonic() - self._heartbeat
        if silent > _DEAD_AFTER:
            return f"the event loop has not come round for {silent:.0f} seconds"
        if not self._schedules.running and not self._stop.is_set():
            return "the scheduler is not running"
        return None

    def unready(self) -> Sequence[str]:
        """Return why the daemon is not ready; nothing when it is. Standbys are."""
        return ["stopping"] if self._stop.is_set() else []

    # What the process does with it.

    async def run(self, grace: timedelta) -> None:
        """Work until `stop` is called; then end what is under way, or give it up after ``grace``.

        Raises:
            StoreError: the store cannot be used.
        """
        self._apply()
        self._metrics.configuration_reloaded(True, self._loaded.at)
        self._schedules.start()
        self._announce()
        helpers = [
            asyncio.create_task(self._beat(), name="heartbeat"),
            asyncio.create_task(self._watch(), name="watch"),
            asyncio.create_task(
                self._leadership.hold(self._leadership_changed, self._metrics.lease_renewed),
                name="leadership",
            ),
        ]
        self._metrics.leader(self._leadership.leads)
        if self._leadership.leads is None:
            self._take_up()
        _log.info("daemon_started", version=__version__, dry_run=self._loaded.settings.dry_run)
        stopping = asyncio.create_task(self._stop.wait())
        try:
            # A helper that ends has failed: without it the daemon would go on half alive.
            await asyncio.wait([stopping, *helpers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stop.set()
            self._schedules.stop()
            await self._end_jobs(grace)
            for task in (stopping, *helpers):
                task.cancel()
            ended = await asyncio.gather(*helpers, return_exceptions=True)
            _log.info("daemon_stopped")
        for each in ended:
            if isinstance(each, BaseException) and not isinstance(each, asyncio.CancelledError):
                raise each

    def stop(self) -> None:
        """End, cleanly: call it from the event loop, for instance on SIGTERM."""
        _log.info("daemon_stopping")
        self._stop.set()

    def reload(self) -> None:
        """Read the settings and policies again; what is in force stays when they are not valid."""
        try:
            loaded = self._files.load(self._clock())
        except ReaperError as error:
            self._error = error.message
            self._failed_at = self._failed_at or self._clock()
            self._metrics.configuration_reloaded(False, self._clock())
            _log.error("configuration_invalid", error=error.message, in_force_since=self._loaded.at)
            return
        before = self._loaded
        self._retire(before.settings, loaded.settings)
        for name in _FIXED:
            if getattr(loaded.settings, name) != getattr(before.settings, name):
                _log.warning("restart_needed", setting=name)
        self._loaded, self._error, self._failed_at = loaded, None, None
        self._fingerprint, self._rejected = self._files.fingerprint(loaded), None
        self._metrics.configuration_reloaded(True, loaded.at)
        _log.info("configuration_loaded", policies=sum(map(len, loaded.policies.values())))
        self._apply()
        self._announce()
        if (loaded.policies, loaded.settings.dry_run) != (before.policies, before.settings.dry_run):
            # Nothing goes on by rules that somebody has just changed; what was cut short begins anew.
            for station in self._at_work.values():
                station.stop()

    # Inside.

    def _apply(self) -> None:
        """Make what was loaded the thing that is done."""
        loaded, settings = self._loaded, self._loaded.settings
        self._metrics.dry_run(settings.dry_run)
        self._metrics.receivers([each.name for each in settings.notify])
        self._stations = {}
        for registry in settings.registries:
            policies = loaded.policies[registry.name]
            for name in unscheduled(settings, policies):
                _log.warning("policy_without_schedule", registry=registry.name, policy=name)
            recorder = Recorder(
                self._metrics.registry(registry.name, policies=[policy.name for policy in policies]),
                self._store,
                _url(registry.url),
                clock=self._clock,
            )
            collects = registry.collect.via != "none"
            recorder.configured(undo_window=registry.collect.undo_window if collects else None)
            self._stations[registry.name] = Station(
                registry,
                settings,
                policies,
                store=self._store,
                recorder=recorder,
                turn=self._turns.setdefault(registry.name, asyncio.Lock()),
                may_write=self._leadership.check,
                on_source=self._source_read,
                clock=self._clock,
            )
            self._stations[registry.name].look_up()
        self._schedules.apply(loaded.jobs, settings.jitter)
        self._read_last()

    def _source_read(self, source: SourceState) -> None:
        """Tell the metrics how a source of images in use was read."""
        metrics = self._metrics.cluster(str(source))
        metrics.read(source.complete, source.at, source.images, source.unreadable)

    def _retire(self, before: Settings, now: Settings) -> None:
        """Drop the metrics of what is no longer in the settings: nobody is to be alarmed by it."""
        for name in {one.name for one in before.registries} - {one.name for one in now.registries}:
            self._metrics.retire_registry(name)
        for source in source_names(before.in_use) - source_names(now.in_use):
            self._metrics.retire_cluster(source)

    def _announce(self) -> None:
        """Tell the metrics when each registry's next run and collection are due."""
        for registry in self._loaded.settings.registries:
            jobs = [spec for spec in self._loaded.jobs if spec.registry == registry.name]
            runs = [spec for spec in jobs if spec.kind == "run"]
            # Without a schedule of their own, collections take place as part of the runs.
            collects = registry.collect.via != "none" and not self._loaded.settings.dry_run
            with_runs = collects and registry.collect.schedule is None
            collections = runs if with_runs else [spec for spec in jobs if spec.kind == "collect"]
            for kind, specs in (("run", runs), ("collection", collections)):
                due = [at for at in map(self._schedules.next_at, specs) if at is not None]
                pauses = [interval(spec.schedule, self._clock()) for spec in specs]
                shortest = min((pause for pause in pauses if pause is not None), default=None)
                self._metrics.registry(registry.name).scheduled(
                    kind, min(due, default=None), None if shortest is None else shortest.total_seconds()
                )

    def _take_up(self) -> None:
        """Begin to work: put right what was cut short, make up for what was missed, run if asked to."""
        settings, now = self._loaded.settings, self._clock()
        self._read_last()
        for name, station in self._stations.items():
            station.look_up()
            self._watch_over(name, station)
        for spec in self._loaded.jobs:
            last = self._last.get(spec)
            missed = last is not None and was_missed(spec.schedule, last, now)
            if missed:
                _log.info("job_missed", registry=spec.registry, job=spec.key, last=last)
            if missed or (settings.run_at_start and spec.kind == "run"):
                self._begin(spec)

    def _leadership_changed(self, leads: bool) -> None:
        self._metrics.leader(leads)
        self._metrics.leader_transition()
        if leads:
            self._take_up()
        else:
            for station in self._at_work.values():
                station.stop()

    async def _fire(self, spec: JobSpec) -> None:
        """Begin a job that is due; APScheduler has no more to do with it."""
        self._begin(spec)

    def _begin(self, spec: JobSpec) -> None:
        """Begin a job, unless it is under way, or another daemon is to do it."""
        if self._stop.is_set() or self._leadership.leads is False or spec in self._running:
            return
        station = self._stations[spec.registry]
        self._running[spec] = self._clock()
        self._spawn(self._do(spec, station), station)

    async def _do(self, spec: JobSpec, station: Station) -> None:
        before = self._last.get(spec)
        log = _log.bind(registry=spec.registry, job=spec.key)
        log.info("job_started", policies=spec.policies)
        done = False
        try:
            await self._remember(spec, self._running[spec])
            work = station.run(frozenset(spec.policies)) if spec.kind == "run" else station.collect()
            notice = await work
            # Cut short by a stop: it is made up for, by this daemon or by the one that starts next.
            done = notice is None or notice.outcome != "interrupted"
            log.info("job_ended", outcome=None if notice is None else notice.outcome)
            if notice is not None and done:
                await self._tell(notice)
        except ReaperError as error:
            done = True
            log.error("job_failed", error=error.message)  # noqa: TRY400 - the message says it all
        finally:
            del self._running[spec]
            if not done:
                self._store.observations.set_fact(*_fact(spec, self._url(spec.registry)), _iso(before))
        self._announce()
        self._watch_over(spec.registry, station)
        if not done and spec in self._loaded.jobs:
            self._begin(spec)

    def _watch_over(self, name: str, station: Station) -> None:
        """See to it that a registry is put back where a collection of it was cut short or failed."""
        wanted = not self._loaded.settings.dry_run and name not in self._put_back and not self._stop.is_set()
        if wanted and station.was_cut_short():
            self._put_back.add(name)
            self._spawn(self._put_right(name), station)

    async def _put_right(self, name: str) -> None:
        """Put a registry back that a collection left read-only, and keep on trying; tell of it once."""
        told: object = None
        try:
            while not self._stop.is_set() and self._leadership.leads is not False and name in self._stations:
                notice = await self._stations[name].recover()
                if notice is None:
                    return
                if notice.lines != told:
                    told = notice.lines
                    await self._tell(notice)
                await _either(self._stop.wait(), RECOVER_EVERY)
        finally:
            self._put_back.discard(name)

    async def _tell(self, notice: Notice) -> None:
        try:
            receivers = [
                Receiver(each.name, each.read_url(), each.format, frozenset(each.on))
                for each in self._loaded.settings.notify
            ]
        except ReaperError as error:
            _log.error("notification_failed", reason=error.message)
            return
        await Notifier(receivers, on_sent=self._metrics.notification).tell(notice)

    async def _end_jobs(self, grace: timedelta) -> None:
        for station in self._at_work.values():
            station.stop()
        tasks = set(self._at_work)
        if tasks:
            _, tasks = await asyncio.wait(tasks, timeout=grace.total_seconds())
        if tasks:
            _log.warning("jobs_abandoned", count=len(tasks))
            for task in tasks:
                task.cancel()
            # A collection puts the registry back before it ends, however long that takes.
            await asyncio.wait(tasks)

    def _spawn(self, work: Coroutine[Any, Any, None], station: Station) -> None:
        task = asyncio.create_task(work)
        self._at_work[task] = station
        task.add_done_callback(self._at_work.pop)

    async def _lead(self) -> None:
        await self._leadership.hold(self._leadership_changed, self._metrics.lease_renewed)

    async def _beat(self) -> None:
        while True:
            self._heartbeat = time.monotonic()
            await asyncio.sleep(_BEAT_EVERY)

    async def _watch(self) -> None:
        """Reload when a file of the configuration changes."""
        looked_up = time.monotonic()
        while True:
            await asyncio.sleep(self._watch_every)
            if time.monotonic() - looked_up > LOOK_UP_EVERY:
                await self._look_up()
                looked_up = time.monotonic()
            now = await asyncio.to_thread(self._files.fingerprint, self._loaded)
            if now == self._fingerprint:
                if self._error is not None:
                    # A change that was not valid has been taken back.
                    self._metrics.configuration_reloaded(True, self._loaded.at)
                self._error = self._failed_at = self._rejected = None
            elif now != self._rejected:
                self._rejected = now
                self.reload()

    async def _look_up(self) -> None:
        """Tell the metrics what others have done: runs by hand, and restores."""
        for name, station in list(self._stations.items()):
            if self._turns[name].locked():
                continue
            try:
                await asyncio.to_thread(station.look_up)
            except StoreError as error:
                # The next run needs the store, and says so aloud.
                _log.warning("store_not_read", error=error.message)

    def _job(self, spec: JobSpec) -> Job:
        return Job(
            registry=spec.registry,
            kind=spec.kind,
            policies=spec.policies,
            schedule=str(spec.schedule),
            next_at=self._schedules.next_at(spec),
            last_at=self._last.get(spec),
            running_since=self._running.get(spec),
        )

    def _read_last(self) -> None:
        """Look up when each job last began, here or elsewhere."""
        self._last = {}
        for spec in self._loaded.jobs:
            value = self._store.observations.fact(*_fact(spec, self._url(spec.registry)))
            if value is not None:
                self._last[spec] = datetime.fromisoformat(value)

    async def _remember(self, spec: JobSpec, at: datetime) -> None:
        self._last[spec] = at
        registry, key = _fact(spec, self._url(spec.registry))
        await asyncio.to_thread(self._store.observations.set_fact, registry, key, _iso(at))

    def _url(self, name: str) -> str:
        return _url(self._loaded.settings.registry(name).url)


def _url(url: str) -> str:
    return parse_address(url).url


def _fact(spec: JobSpec, url: str) -> tuple[str, str]:
    """Return where the store keeps when the job last began."""
    return url, f"last {spec.key}"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


async def _either(condition: Coroutine[Any, Any, Any], seconds: float) -> None:
    """Return when ``condition`` has come true, or after so many ``seconds``."""
    try:
        await asyncio.wait_for(condition, seconds)
    except TimeoutError:
        return
