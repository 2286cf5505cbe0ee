"""From settings to the objects that the command line and the daemon work with."""

from __future__ import annotations

from pathlib import Path

from reaper.collect import Collector, CommandCollector, NoneCollector
from reaper.collection import Collection, JournaledSizes, Watch
from reaper.config.settings import RegistrySettings
from reaper.registry import (
    NOBODY,
    Credentials,
    Observer,
    RegistryClient,
    RegistryOptions,
    TLSOptions,
    find_credentials,
    parse_address,
)
from reaper.run import utc_now
from reaper.store import Store


def registry_options(
    registry: RegistrySettings,
    *,
    read_only: bool,
    docker_config: Path | None = None,
    observer: Observer = NOBODY,
) -> RegistryOptions:
    """Return what the client needs to know of ``registry``; ``docker_config`` goes before the settings'.

    Secrets are read from their files now.

    Raises:
        InvalidInputError: the registry's address is not valid.
        ReaperError: a secret cannot be read.
    """
    address = parse_address(registry.url)
    folder = docker_config or registry.docker_config
    return RegistryOptions(
        address=address,
        credentials=_login(registry) or find_credentials(address, docker_config=folder),
        tls=TLSOptions(registry.ca_file, registry.insecure),
        read_only=read_only,
        concurrency=registry.concurrency,
        observer=observer,
    )


def _login(registry: RegistrySettings) -> Credentials | None:
    """Return the login that the settings themselves name."""
    login = registry.credentials()
    if login is None:
        return None
    source = f"the settings of registry {registry.name}"
    return Credentials(source, login.username, login.password, login.token)


def collection_for(
    registry: RegistrySettings, client: RegistryClient, store: Store, *, watch: Watch | None = None
) -> Collection:
    """Return the collections of ``registry``, as its settings have them; ``watch`` is told what happens."""
    return Collection(
        client,
        store,
        collector_for(registry, store, client.url),
        registry=client.url,
        undo_window=registry.collect.undo_window,
        clock=utc_now,
        scheduled=registry.collect.schedule is not None,
        concurrency=registry.concurrency,
        watch=watch,
    )


def collector_for(registry: RegistrySettings, store: Store, url: str) -> Collector:
    """Return the way to the garbage-collect of ``registry``, which the store knows by its ``url``."""
    settings = registry.collect
    if settings.via == "none":
        return NoneCollector()
    read_only = settings.read_only
    return CommandCollector(
        settings.command or (),
        read_only_on=read_only.on if read_only else (),
        read_only_off=read_only.off if read_only else (),
        restart=settings.restart or (),
        timeout=settings.timeout.total_seconds(),
        blob_size=JournaledSizes(store, url),
    )
