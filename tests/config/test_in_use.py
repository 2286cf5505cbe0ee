"""Where images in use are named, and what images call a registry."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from reaper.config.errors import ConfigurationError
from reaper.config.settings import Settings, load_settings
from reaper.core.alias import Alias
from reaper.core.fieldpath import FieldPath


def load(folder: Path, text: str) -> Settings:
    file = folder / "reaper.yaml"
    file.write_text(text)
    return load_settings(file)


def test_everything_that_says_what_is_in_use(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
registries:
  - name: main
    url: https://registry.example.com
    hosts: [localhost:32000, proxy.example.com/main, docker.io=hub]
in_use:
  clusters:
    - name: prod
      kubeconfig: prod.kubeconfig
      context: admin
      namespaces: [shop]
      resources:
        - group: argoproj.io
          version: v1alpha1
          plural: rollouts
          paths: [spec.template.spec]
          optional: false
        - {version: v1, plural: pods, paths: ["metadata.annotations['a.b/c']"]}
  files: [images.txt]
  commands: [[./images, --all]]
in_use_grace: 14d
""",
    )
    (cluster,) = settings.in_use.clusters
    assert cluster.kubeconfig == tmp_path / "prod.kubeconfig"
    assert [resource.paths for resource in cluster.resources] == [
        [FieldPath(("spec", "template", "spec"))],
        [FieldPath(("metadata", "annotations", "a.b/c"))],
    ]
    assert [resource.optional for resource in cluster.resources] == [False, True]
    assert settings.in_use.files == [tmp_path / "images.txt"]
    assert settings.in_use.commands == [["./images", "--all"]]
    assert settings.in_use_grace == timedelta(days=14)
    assert settings.registries[0].hosts == [
        Alias("localhost:32000"),
        Alias("proxy.example.com", "main"),
        Alias("docker.io", here="hub"),
    ]


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        (
            "https://registry.example.com",
            "5:9: 'https://registry.example.com' is not a registry's name in image",
        ),
        ("registry", "5:9: references never take 'registry' for a host"),
    ],
)
def test_what_no_reference_can_begin_with_is_refused(tmp_path: Path, hosts: str, message: str) -> None:
    text = f"registries:\n  - name: main\n    url: https://a.example.com\n    hosts:\n      - {hosts}\n"
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)


def test_what_is_no_path_is_refused(tmp_path: Path) -> None:
    text = "in_use: {clusters: [{name: a, resources: [{version: v1, plural: pods, paths: ['spec[0]']}]}]}\n"
    with pytest.raises(ConfigurationError, match=r"'spec\[0\]' is not a path to a field"):
        load(tmp_path, text)
