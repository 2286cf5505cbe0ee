"""Settings of where reaper learns which images are in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from reaper.config.collection import Command
from reaper.config.fields import SomeDuration, TextField
from reaper.config.model import Checked, Fault
from reaper.config.paths import FilePath
from reaper.core.fieldpath import FieldPath, parse_field_path

_Path = Annotated[
    FieldPath, TextField(parse_field_path, "a field path, such as spec.template.spec", FieldPath)
]


class ResourceSettings(Checked):
    """A kind of object, beside Kubernetes' own, whose fields name images."""

    model_config = ConfigDict(title="Resource")
    hints: ClassVar[Mapping[str, str]] = {
        "kind": "did you mean 'plural', such as rollouts?",
        "apiVersion": "write group and version",
    }

    group: str = Field(default="", description="The API group, such as argoproj.io; empty for the core.")
    version: str = Field(min_length=1, description="Its version, such as v1alpha1.")
    plural: str = Field(min_length=1, description="The resource's name, such as rollouts.")
    paths: Annotated[list[_Path], Field(min_length=1)] = Field(
        description="Where images stand: a path to an image or to a pod's spec, such as spec.template.spec; "
        "`[*]` goes through a list or a mapping."
    )
    optional: bool = Field(
        default=True, description="Whether a cluster without this resource counts as read all the same."
    )


class ClusterSettings(Checked):
    """A Kubernetes cluster whose images are in use."""

    model_config = ConfigDict(title="Cluster")
    hints: ClassVar[Mapping[str, str]] = {"namespace": "did you mean 'namespaces'?"}

    name: str = Field(min_length=1, description="What reasons, logs and metrics call the cluster.")
    kubeconfig: FilePath | None = Field(
        default=None, description="How to reach it; the pod's service account if absent."
    )
    context: str | None = Field(default=None, description="The context in the kubeconfig.")
    namespaces: Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None,
        description="Look into these only; all if absent. What runs elsewhere is then not protected.",
    )
    resources: list[ResourceSettings] = Field(default=[], description="Further kinds that name images.")


class InUseSettings(Checked):
    """Where the images in use are named. Each source has to be readable, or nothing is deleted."""

    model_config = ConfigDict(title="In use")

    clusters: list[ClusterSettings] = Field(default=[], description="Kubernetes clusters.")
    files: list[FilePath] = Field(
        default=[], description="Files that name images, one a line; # begins a comment."
    )
    commands: list[Command] = Field(
        default=[], description="Commands that print images, one a line, and end with 0."
    )
    command_timeout: SomeDuration = Field(
        default=timedelta(minutes=1), description="How long a command may take."
    )
    ignore_unreadable: bool = Field(
        default=False,
        description="Whether a reference that is no valid image is ignored; else it blocks deletes.",
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield clusters of the same name."""
        clusters = data.get("clusters")
        seen: set[str] = set()
        for index, cluster in enumerate(clusters if isinstance(clusters, list) else ()):
            name = cluster.get("name") if isinstance(cluster, Mapping) else None
            if isinstance(name, str) and name in seen:
                at = ("clusters", index, "name")
                yield Fault(f"another cluster is named {name!r} as well", "give it another name", at)
            seen.add(str(name))
