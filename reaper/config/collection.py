"""Settings of a registry's collection: how its own garbage-collect is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr

from reaper.config.fields import Crontab, Duration, SomeDuration, TextField
from reaper.config.model import Checked, Fault, Shorthand
from reaper.config.paths import FilePath
from reaper.config.secrets import read_secret
from reaper.core.errors import InvalidInputError

_KINDS: Final = {
    "deploy": "deployment",
    "deployment": "deployment",
    "deployments": "deployment",
    "sts": "statefulset",
    "statefulset": "statefulset",
    "statefulsets": "statefulset",
    "ds": "daemonset",
    "daemonset": "daemonset",
    "daemonsets": "daemonset",
}
#: Which section says more of which procedures, and an example of it.
_SECTIONS: Final = {
    "docker": (("docker",), "docker: {container: registry}"),
    "kubernetes": (
        ("kubernetes-job", "kubernetes-exec"),
        "kubernetes: {namespace: registry, workload: deployment/registry}",
    ),
    "webhook": (("webhook",), "webhook: {url: https://collector.example.com/hook}"),
}
#: What each key is of no use to, and why.
_USELESS: Final = {
    "command": ({"none": "add via: command", "webhook": "the receiver knows its own"}),
    "read_only": (
        {
            "kubernetes-job": "kubernetes.read_only says how",
            "kubernetes-exec": "kubernetes.read_only says how",
            "webhook": "the receiver makes it read-only: see webhook.read_only",
        }
    ),
    "restart": (
        {
            "docker": "the engine restarts the container",
            "kubernetes-job": "the rollout that makes it writable is its restart",
            "kubernetes-exec": "the rollout that makes it writable is its restart",
            "webhook": "the receiver restarts it: see webhook.restart",
        }
    ),
}


def _workload(text: str) -> str:
    kind, slash, name = text.strip().partition("/")
    found = _KINDS.get(kind.casefold())
    if not slash or found is None or not name or "/" in name:
        raise InvalidInputError(
            f"{text[:60]!r} is not a workload",
            hint="write deployment/NAME, statefulset/NAME or daemonset/NAME",
        )
    return f"{found}/{name}"


def _hook_url(text: str) -> str:
    try:
        parts = urlsplit(text.strip())
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or any(character.isspace() for character in text.strip()):
        raise InvalidInputError("this is not a URL", hint="such as https://collector.example.com/hook")
    if parts.username is not None or parts.password is not None:
        raise InvalidInputError("the URL must not carry a login", hint="give token_file")
    return text.strip()


def _argument(text: str) -> str:
    if "\0" in text:
        raise InvalidInputError("an argument cannot hold a NUL character")
    return text


#: An argument of a command.
Argument = Annotated[str, TextField(_argument, "an argument: text", str)]
#: A command as a list of its arguments; no shell reads it.
Command = Annotated[list[Argument], Field(min_length=1)]


def _as_commands(value: Any) -> Any:
    single = isinstance(value, list) and value and not any(isinstance(item, list) for item in value)
    return [value] if single else value


#: Commands to run in order; a single one may stand for the list of it.
Commands = Annotated[
    list[Command],
    Field(min_length=1),
    Shorthand(
        _as_commands, (), "a command as a list of its arguments, or a list of such lists", list, "items"
    ),
]


class ReadOnlySettings(Checked):
    """How the registry is made read-only for a collection."""

    model_config = ConfigDict(title="Read-only")
    hints: ClassVar[Mapping[str, str]] = {
        "on": "the commands that make the registry refuse writes",
        "off": "the commands that make it accept writes again",
    }

    on: Commands = Field(description="Commands that make the registry refuse writes.")
    off: Commands = Field(description="Commands that make it accept writes again.")


class DockerCollectSettings(Checked):
    """The registry's container, for the procedure docker."""

    model_config = ConfigDict(title="Container")
    hints: ClassVar[Mapping[str, str]] = {"container": "the name or the id of the registry's container"}

    container: str = Field(min_length=1, description="The container's name or id.")
    socket: FilePath = Field(
        default=Path("/var/run/docker.sock"), description="The engine's socket, which gives root's rights."
    )


class KubernetesCollectSettings(Checked):
    """The registry's workload, for the procedures kubernetes-job and kubernetes-exec."""

    model_config = ConfigDict(title="Workload")
    hints: ClassVar[Mapping[str, str]] = {
        "namespace": "the namespace that the registry runs in",
        "workload": "the workload that the registry is, such as deployment/registry",
        "deployment": "did you mean 'workload'?",
    }

    kubeconfig: FilePath | None = Field(
        default=None, description="How to reach the cluster; the pod's service account if absent."
    )
    context: str | None = Field(default=None, description="The context in the kubeconfig.")
    namespace: str = Field(min_length=1, description="The namespace that the registry runs in.")
    workload: Annotated[str, TextField(_workload, "a workload, such as deployment/registry", str)] = Field(
        description="The registry's `deployment/NAME`, `statefulset/NAME` or `daemonset/NAME`."
    )
    container: str | None = Field(
        default=None, min_length=1, description="The registry's container; the only one if absent."
    )
    read_only: Literal["environment", "scale"] = Field(
        default="environment",
        description="How it is made read-only: `environment` sets the registry's own mode in a rollout, "
        "`scale` stops all of its pods.",
    )
    rollout_timeout: SomeDuration = Field(
        default=timedelta(minutes=10), description="How long a rollout, or a pod's start, may take."
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield what cannot be scaled."""
        kind = str(data.get("workload")).partition("/")[0].casefold()
        if data.get("read_only") == "scale" and _KINDS.get(kind) == "daemonset":
            yield Fault("a daemonset cannot be scaled", "use read_only: environment", ("read_only",))


class WebhookCollectSettings(Checked):
    """Who collects on request, for the procedure webhook."""

    model_config = ConfigDict(title="Collecting webhook")
    hints: ClassVar[Mapping[str, str]] = {"url": "add url: https://collector.example.com/hook"}

    url: Annotated[str, TextField(_hook_url, "a URL", str)] = Field(
        description="Where each step is POSTed to."
    )
    token: SecretStr | None = Field(
        default=None, description="Sent as `Authorization: Bearer …`; better in a file."
    )
    token_file: FilePath | None = Field(default=None, description="A file that holds the token.")
    read_only: bool = Field(
        default=True, description="Whether it can make the registry read-only, and writable again."
    )
    restart: bool = Field(default=True, description="Whether it can restart the registry.")
    dry_run: bool = Field(default=True, description="Whether it can collect as a dry run.")
    step_timeout: SomeDuration = Field(
        default=timedelta(minutes=10), description="How long a step other than collect may take."
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield a token that is given twice."""
        if "token" in data and "token_file" in data:
            yield Fault("token stands beside token_file", "keep one of them", ("token",), of_key=True)

    def read_token(self) -> str | None:
        """Return the token, if there is one. Raises ReaperError when it cannot be read."""
        return read_secret(self.token, self.token_file)


class CollectSettings(Checked):
    """How and when to run the registry's garbage collection.

    All commands are argument lists for this machine, with reaper's environment; only with ``docker`` and
    ``kubernetes-…``, ``command`` runs where the registry does. ``schedule`` None: before each run that
    finds deletes past ``undo_window``.
    """

    model_config = ConfigDict(title="Collection")
    hints: ClassVar[Mapping[str, str]] = {"cron": "did you mean 'schedule'?"}

    via: Literal["none", "command", "docker", "kubernetes-job", "kubernetes-exec", "webhook"] = Field(
        default="none", description="The procedure; none for registries that collect by themselves."
    )
    command: Command | None = Field(
        default=None,
        description="The registry's collector, such as [registry, garbage-collect, CONFIG]. With docker and "
        "kubernetes-…, the container says it.",
    )
    schedule: Crontab | None = Field(default=None, description="When to collect, as a crontab line.")
    read_only: ReadOnlySettings | None = Field(
        default=None, description="How the registry is made read-only meanwhile, with command and docker."
    )
    restart: Commands | None = Field(
        default=None, description="Commands that restart the registry, still read-only, or flush its cache."
    )
    undo_window: Duration = Field(
        default=timedelta(hours=24), description="How long a delete can be undone before it is collected."
    )
    timeout: SomeDuration = Field(default=timedelta(hours=6), description="How long the collector may take.")
    docker: DockerCollectSettings | None = Field(default=None)
    kubernetes: KubernetesCollectSettings | None = Field(default=None)
    webhook: WebhookCollectSettings | None = Field(default=None)

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield a procedure that lacks what it needs, and what no procedure would look at."""
        via = data.get("via", "none")
        if not isinstance(via, str):
            return
        if via == "command" and "command" not in data:
            hint = "add command: [registry, garbage-collect, /etc/distribution/config.yml]"
            yield Fault("command is missing", hint, ("command",))
        for key, reasons in _USELESS.items():
            if key in data and via in reasons:
                what = (
                    "a command that is never run" if key == "command" else f"{key} is not used by via: {via}"
                )
                yield Fault(what, reasons[via], (key,), of_key=True)
        for section, (procedures, example) in _SECTIONS.items():
            if via in procedures and section not in data:
                yield Fault(f"{section} is missing", f"add {example}", (section,))
            elif section in data and via not in procedures:
                hint = f"add via: {procedures[0]}" if via == "none" else "leave it out"
                yield Fault(f"{section} is not used by via: {via}", hint, (section,), of_key=True)
        kubernetes = data.get("kubernetes")
        stops = isinstance(kubernetes, Mapping) and kubernetes.get("read_only") == "scale"
        if via == "kubernetes-exec" and stops:
            hint = "use read_only: environment, or via: kubernetes-job"
            yield Fault("without a pod there is none to collect in", hint, ("kubernetes", "read_only"))
