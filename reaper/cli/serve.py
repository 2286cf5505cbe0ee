"""``reaper serve``: the daemon."""

from __future__ import annotations

import typer

from reaper.cli.options import Common, command


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(app, "serve")
    def serve(common: Common) -> None:
        """Run, audit and collect on schedules, until told to stop. It only audits while dry_run is true."""
        import asyncio
        import signal

        from reaper import __version__
        from reaper.cli.session import overrides_of, settings_of
        from reaper.daemon.configuration import ConfigurationFiles
        from reaper.daemon.leadership import leadership_of
        from reaper.daemon.service import Daemon
        from reaper.observe.logging import configure_logging
        from reaper.observe.metrics import Metrics
        from reaper.run import utc_now
        from reaper.store import open_store
        from reaper.web.app import build_app
        from reaper.web.server import WebServer

        settings = settings_of(common)
        if "level" not in settings.log.model_fields_set:
            # Nobody watches: what was done, each delete above all, has to stand in the log.
            configure_logging(settings.log.format, "info")
        files = ConfigurationFiles(settings.file, overrides_of(common), common.registry)
        loaded = files.load(utc_now())

        async def work() -> None:
            loop = asyncio.get_running_loop()
            metrics = Metrics(version=__version__)
            with open_store(settings.store.url) as store:
                daemon = Daemon(
                    files,
                    loaded,
                    store=store,
                    metrics=metrics,
                    leadership=leadership_of(settings.leader_election),
                    clock=utc_now,
                )
                loop.add_signal_handler(signal.SIGHUP, daemon.reload)
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.add_signal_handler(number, daemon.stop)

                def count_event(registry: str, action: str, outcome: str) -> None:
                    metrics.registry(registry).event(action, outcome)

                app = build_app(
                    daemon,
                    store,
                    metrics.exposition,
                    token=settings.web.read_token(),
                    events_secret=settings.web.read_events_secret(),
                    clock=utc_now,
                    on_event=count_event,
                )
                async with WebServer(app, settings.web.host, settings.web.port):
                    await daemon.run(settings.shutdown_grace)

        asyncio.run(work())
