"""From a kubeconfig, or a pod's own service account, to a client."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from reaper.core.errors import InvalidInputError
from reaper.kubernetes.client import ClusterClient

if TYPE_CHECKING:
    from lightkube import SingleConfig

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PLUGIN_API = "client.authentication.k8s.io/"


def connect(
    kubeconfig: Path | None = None,
    context: str | None = None,
    *,
    name: str | None = None,
    timeout: float = 30.0,
    page_size: int = 500,
    read_only: bool = False,
    service_account: Path = _SERVICE_ACCOUNT,
) -> ClusterClient:
    """Return a client of a cluster; nothing is sent yet.

    The cluster is that of ``kubeconfig``; else of ``KUBECONFIG``; else (without a ``context``) the one whose
    pod this is; else of ``~/.kube/config``. ``name`` is for messages: the context's by default. ``timeout``
    is in seconds, for each call that is given none. ``read_only`` lets nothing through that is not a GET.

    Raises:
        InvalidInputError: there is no usable configuration, or the extra ``kubernetes`` is not installed.
    """
    try:
        import httpx2
        import msgspec
        from lightkube import ConfigError

        from reaper.kubernetes.api import HttpClusterClient
    except ImportError as error:
        raise InvalidInputError(
            f"Kubernetes needs a package that is not installed: {error.name}",
            hint="install reaper-registry[kubernetes]",
        ) from error

    if kubeconfig is None and (named := os.environ.get("KUBECONFIG")):
        kubeconfig = Path(named)
    in_cluster = kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ
    source = service_account if in_cluster else kubeconfig or _usual_kubeconfig()
    try:
        config = _from_service_account(source) if in_cluster else _from_file(source, context)
        return HttpClusterClient(
            config,
            name=name or ("in-cluster" if in_cluster else config.context_name),
            timeout=timeout,
            page_size=page_size,
            read_only=read_only,
        )
    except KeyError as error:
        problem = f"{error} is missing"
    except (ConfigError, msgspec.ValidationError, httpx2.InvalidURL, OSError, ValueError) as error:
        problem = str(error)
    raise InvalidInputError(
        f"no cluster can be reached with {source}: {problem}",
        hint="name a kubeconfig and one of its contexts, or run in a pod with a service account",
    )


def _usual_kubeconfig() -> Path:
    try:
        return Path("~/.kube/config").expanduser()
    except RuntimeError:
        raise InvalidInputError(
            "there is no kubeconfig, and no home folder to look for one in",
            hint="name it: kubeconfig in the settings, or KUBECONFIG",
        ) from None


def _from_service_account(folder: Path) -> SingleConfig:
    from lightkube import KubeConfig

    config = KubeConfig.from_service_account(folder).get()
    assert config is not None  # only a default of None would be returned
    return config


def _from_file(path: Path, context: str | None) -> SingleConfig:
    from lightkube import ConfigError, KubeConfig
    from lightkube.config.models import User

    try:
        content = YAML(typ="safe", pure=True).load(path)
    except YAMLError as error:
        raise ConfigError(f"it is not YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise ConfigError("it is not a kubeconfig")
    for section in ("clusters", "contexts", "users"):
        entries = content.get(section) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ConfigError(f"{section} is not a list of mappings")
    for user in content.get("users") or []:
        _adapt_plugin(user.get("user") or {})
    config = KubeConfig.from_dict({**content, "users": content.get("users") or []}, path).get(context)
    assert config is not None  # only a default of None would be returned
    return config if config.user else config._replace(user=User())


def _adapt_plugin(user: dict[str, Any]) -> None:
    """Let lightkube run a login plugin of the current API (it knows the beta, which differs by name only).

    The plugin is also told which version it is to answer in, as client-go does.
    """
    plugin = user.get("exec")
    if not isinstance(plugin, dict) or not str(plugin.get("apiVersion")).startswith(_PLUGIN_API):
        return
    call = {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": {"interactive": False}}
    told = {"name": "KUBERNETES_EXEC_INFO", "value": json.dumps(call)}
    plugin |= {"apiVersion": f"{_PLUGIN_API}v1beta1", "env": [*(plugin.get("env") or []), told]}
