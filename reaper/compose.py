"""From settings to the objects that the command line and the daemon work with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from reaper.capabilities import Capabilities, Wanted
from reaper.collect import Collector, CommandCollector, NoneCollector
from reaper.collect.docker import DockerCollector
from reaper.collect.kubernetes_exec import KubernetesExecCollector
from reaper.collect.kubernetes_job import KubernetesJobCollector
from reaper.collect.kubernetes_workload import Pace, Reference
from reaper.collect.webhook import WebhookCollector
from reaper.collection import Collection, JournaledSizes, Watch
from reaper.config.in_use import ClusterSettings, InUseSettings
from reaper.config.settings import RegistrySettings, Settings
from reaper.core.alias import Alias, normal_host
from reaper.core.capabilities import Untagging
from reaper.housekeeping import Retention
from reaper.kubernetes import Resource, connect
from reaper.protect import (
    Aliases,
    ClusterSource,
    CommandSource,
    FileSource,
    Kind,
    Protector,
    Source,
    SourceState,
)
from reaper.registry import (
    NOBODY,
    PAGE_SIZE,
    Address,
    Credentials,
    Logins,
    Observer,
    Patience,
    Place,
    RegistryClient,
    RegistryOptions,
    SettingsSource,
    TLSOptions,
    logins_of,
    parse_address,
)
from reaper.registry.login_sources import LoginSources
from reaper.registry.products import Fact, ProductOptions
from reaper.repositories import Named, Repositories
from reaper.run import utc_now
from reaper.store import Store


def registry_options(
    registry: RegistrySettings,
    *,
    read_only: bool,
    docker_config: Path | None = None,
    observer: Observer = NOBODY,
) -> RegistryOptions:
    """Return what the client needs to know of ``registry``; ``docker_config`` is the option's.

    Logins are read when the client is opened.

    Raises:
        InvalidInputError: the registry's address is not valid.
    """
    address = parse_address(registry.url)
    return RegistryOptions(
        address=address,
        logins=_logins(registry, address, docker_config),
        tls=TLSOptions(
            ca_file=registry.ca_file,
            client_cert_file=registry.client_cert_file,
            client_key_file=registry.client_key_file,
            certs_dir=registry.certs_dir,
            insecure=registry.insecure,
        ),
        token_hosts=frozenset(registry.token_hosts or ()),
        patience=Patience(registry.connect_timeout.total_seconds(), registry.timeout.total_seconds()),
        read_only=read_only,
        concurrency=registry.concurrency,
        page_size=registry.capabilities.page_size or PAGE_SIZE,
        referrers_api=registry.capabilities.referrers,
        observer=observer,
        product=_product(registry),
    )


def _product(registry: RegistrySettings) -> ProductOptions | None:
    """Return which product's own API is asked; None: no product's."""
    settings = registry.product
    if settings.name == "none":
        return None
    source = f"the product of registry {registry.name}"

    def read() -> Credentials | None:
        login = settings.credentials()
        return Credentials(source, login.username, login.password, login.token) if login else None

    own = any((settings.username, settings.token, settings.token_file))
    return ProductOptions(
        settings.name,
        parse_address(settings.url) if settings.url else None,
        LoginSources([SettingsSource(source, read)]) if own else None,
        tuple(settings.groups or ()),
    )


def _logins(registry: RegistrySettings, address: Address, docker_config: Path | None) -> Logins:
    """Return where logins come from; ``docker_config`` goes before the settings' of that name."""
    source = f"the settings of registry {registry.name}"

    def read() -> Credentials | None:
        login = registry.credentials()
        return Credentials(source, login.username, login.password, login.token) if login else None

    chosen = None
    if docker_config is not None:
        chosen = Place(docker_config, "--docker-config", chosen=True)
    elif registry.docker_config is not None:
        chosen = Place(registry.docker_config, f"docker_config of registry {registry.name}", chosen=True)
    return logins_of(address, SettingsSource(source, read), chosen)


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
        repositories=repositories_for(registry, client),
    )


def repositories_for(registry: RegistrySettings, client: RegistryClient) -> Repositories:
    """Return what lists the repositories of ``registry``."""

    async def listed() -> list[str] | None:
        product = await client.product()
        if product is None or Fact.REPOSITORIES not in product.reads:
            return None
        return [name async for name in product.repositories()]

    named, catalog = registry.repositories, registry.capabilities.catalog
    if named is None:
        # GitLab's groups are those that somebody chose.
        whole = not registry.product.groups
        return Repositories(client, product=listed, product_whole=whole, catalog=catalog)
    limit = named.command_timeout.total_seconds()
    return Repositories(client, named=Named(named.names, named.file, named.command or (), limit))


def capabilities_for(
    registry: RegistrySettings,
    client: RegistryClient,
    store: Store | None,
    *,
    clock: Callable[[], datetime] = utc_now,
) -> Capabilities:
    """Return what ``registry`` can do, as far as its settings say it."""
    wanted = Wanted(
        Untagging(registry.untag),
        registry.capabilities.referrers,
        registry.capabilities.catalog,
        registry.capabilities.page_size,
        registry.collect.via,
    )
    return Capabilities(client, store, wanted, clock=clock)


def collector_for(registry: RegistrySettings, store: Store, url: str) -> Collector:
    """Return the way to the garbage-collect of ``registry``, which the store knows by its ``url``.

    Raises:
        InvalidInputError: the settings do not make a procedure.
    """
    settings = registry.collect
    timeout, sizes = settings.timeout.total_seconds(), JournaledSizes(store, url)
    on: list[list[str]] = settings.read_only.on if settings.read_only else []
    off: list[list[str]] = settings.read_only.off if settings.read_only else []
    if docker := settings.docker:
        return DockerCollector(
            docker.container,
            socket=docker.socket,
            command=settings.command,
            read_only_on=on,
            read_only_off=off,
            timeout=timeout,
            blob_size=sizes,
        )
    if kubernetes := settings.kubernetes:
        kind, _, name = kubernetes.workload.partition("/")
        by_job = settings.via == "kubernetes-job"
        return (KubernetesJobCollector if by_job else KubernetesExecCollector)(
            partial(connect, kubernetes.kubeconfig, kubernetes.context),
            Reference(kind, kubernetes.namespace, name, kubernetes.container),
            how=kubernetes.read_only,
            command=settings.command,
            timeout=timeout,
            blob_size=sizes,
            pace=Pace(rollout=kubernetes.rollout_timeout.total_seconds()),
        )
    if webhook := settings.webhook:
        return WebhookCollector(
            webhook.url,
            registry=url,
            token=webhook.read_token,
            read_only=webhook.read_only,
            restart=webhook.restart,
            dry_run=webhook.dry_run,
            timeout=timeout,
            step_timeout=webhook.step_timeout.total_seconds(),
            blob_size=sizes,
        )
    if settings.via == "none":
        return NoneCollector()
    return CommandCollector(
        settings.command or (),
        read_only_on=on,
        read_only_off=off,
        restart=settings.restart or (),
        timeout=timeout,
        blob_size=sizes,
    )


def protector_for(
    settings: Settings,
    registry: RegistrySettings,
    store: Store,
    *,
    on_read: Callable[[SourceState], None] = lambda _state: None,
) -> Protector | None:
    """Return who knows the images in use, as ``registry`` sees them; None where the settings name no source.

    ``on_read`` is told how each source was read, each time.

    Raises:
        InvalidInputError: a registry's address is not valid.
    """
    sources = list(_sources(settings.in_use))
    if not sources:
        return None
    others = [other for other in settings.registries if other.name != registry.name]
    return Protector(
        sources,
        aliases=Aliases(_aliases(registry)),
        others={alias.host for other in others for alias in _aliases(other)},
        memory=store.in_use,
        grace=settings.in_use_grace,
        clock=utc_now,
        ignore_unreadable=settings.in_use.ignore_unreadable,
        on_read=on_read,
    )


def _aliases(registry: RegistrySettings) -> Iterator[Alias]:
    """Yield what images call the registry: as its URL does, with and without the scheme's own port."""
    address = parse_address(registry.url)
    own = ":443" if address.scheme == "https" else ":80"
    host = normal_host(address.host)
    yield Alias(host)
    bare = host.removesuffix(own)
    yield Alias(bare)
    if not bare.rpartition("]")[2].count(":"):
        yield Alias(f"{bare}{own}")
    yield from registry.hosts or ()


def source_names(settings: InUseSettings) -> frozenset[str]:
    """Return what `SourceState` calls the sources of images in use that the settings name."""
    return frozenset(f"{source.kind} {source.name}" for source in _sources(settings))


def _sources(settings: InUseSettings) -> Iterator[Source]:
    for cluster in settings.clusters:
        yield ClusterSource(
            cluster.name,
            partial(connect, cluster.kubeconfig, cluster.context, name=cluster.name, read_only=True),
            namespaces=cluster.namespaces,
            kinds=list(_kinds(cluster)),
        )
    for path in settings.files:
        yield FileSource(path)
    seen: Counter[str] = Counter()
    for command in settings.commands:
        program = command[0]
        seen[program] += 1
        name = f"{program} ({seen[program]})" if seen[program] > 1 else program
        yield CommandSource(command, limit=settings.command_timeout.total_seconds(), name=name)


def _kinds(cluster: ClusterSettings) -> Iterator[Kind]:
    for found in cluster.resources:
        resource = Resource(found.group, found.version, found.plural)
        yield Kind(str(resource), resource, tuple(found.paths), optional=found.optional)


def retention_for(settings: Settings, registry: RegistrySettings) -> Retention:
    """Return how long the store keeps what is over of ``registry``."""
    store = settings.store
    return Retention(store.keep_journal, store.keep_runs, unseen_collections=registry.collect.via == "none")
