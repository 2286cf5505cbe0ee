"""What a container says of its registry's configuration."""

from __future__ import annotations

from typing import Any

import pytest

from reaper.collect.container import collector_command

V2, V3 = "/etc/docker/registry/config.yml", "/etc/distribution/config.yml"


@pytest.mark.parametrize(
    ("started_with", "more", "expected"),
    [
        (["registry", "serve", "/c.yml"], {}, ["registry", "garbage-collect", "/c.yml"]),
        (
            ["/usr/bin/docker-registry", "serve", "/c.yaml"],
            {},
            ["/usr/bin/docker-registry", "garbage-collect", "/c.yaml"],
        ),
        (["tini", "--", "registry", "serve", "/c.yml"], {}, ["registry", "garbage-collect", "/c.yml"]),
        (["/entrypoint.sh", V2], {}, ["registry", "garbage-collect", V2]),
        ([V3], {}, ["registry", "garbage-collect", V3]),
        ([], {"environment": "/env.yml"}, ["registry", "garbage-collect", "/env.yml"]),
        (["registry", "serve"], {"environment": "/env.yml"}, ["registry", "garbage-collect", "/env.yml"]),
        ([], {"mounts": ["/etc/distribution"]}, ["registry", "garbage-collect", V3]),
        ([], {"mounts": ["/etc/docker/registry/", "/var/lib/registry"]}, ["registry", "garbage-collect", V2]),
        ([], {"mounts": [V3]}, ["registry", "garbage-collect", V3]),
        ([], {"mounts": ["/etc/docker/registry", "/etc/distribution"]}, None),
        ([], {"image": "registry:2"}, ["registry", "garbage-collect", V2]),
        ([], {"image": "docker.io/library/registry:3.0.0@sha256:00"}, ["registry", "garbage-collect", V3]),
        (
            [],
            {"image": "example.com:5000/distribution/distribution:v2.8.3"},
            ["registry", "garbage-collect", V2],
        ),
        ([], {"image": "registry"}, None),
        ([], {"image": "registry:latest"}, None),
        ([], {"image": "my-registry:2"}, None),
        (["sh", "-c", "exec registry serve /c.yml"], {}, None),
        ([], {}, None),
    ],
)
def test_the_collectors_command_follows_from_the_container(
    started_with: list[str], more: dict[str, Any], expected: list[str] | None
) -> None:
    assert collector_command(started_with, **more) == expected
