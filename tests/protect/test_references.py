"""References as the container runtimes read them, and the names of a registry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reaper.core.alias import Alias, parse_alias
from reaper.core.errors import InvalidInputError
from reaper.core.reference import is_host, is_repository, is_tag
from reaper.protect.references import Aliases, ImageReference, parse_image

HEX = "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a"
DIGEST = f"sha256:{HEX}"
LONG = f"sha512:{HEX}{HEX}"

# The cases of distribution/reference's tests that concern normalisation, in our own terms.
NAMES = {
    "ubuntu": "docker.io/library/ubuntu:latest",
    "ubuntu:22.04": "docker.io/library/ubuntu:22.04",
    "library/ubuntu": "docker.io/library/ubuntu:latest",
    "docker.io/ubuntu": "docker.io/library/ubuntu:latest",
    "index.docker.io/ubuntu": "docker.io/library/ubuntu:latest",
    "index.docker.io/team/app": "docker.io/team/app:latest",
    "Docker.IO/team/app": "docker.io/team/app:latest",
    "team/app:v1": "docker.io/team/app:v1",
    "docker.io/library/foo/bar": "docker.io/library/foo/bar:latest",
    "test_com/foo": "docker.io/test_com/foo:latest",
    "foo_bar.com:8080": "docker.io/library/foo_bar.com:8080",
    "test.com:5000": "docker.io/library/test.com:5000",
    "192.168.1.1": "docker.io/library/192.168.1.1:latest",
    "192.168.1.1:tag": "docker.io/library/192.168.1.1:tag",
    "test.com/repo:tag": "test.com/repo:tag",
    "test:5000/repo": "test:5000/repo:latest",
    "test:5000/repo:tag": "test:5000/repo:tag",
    "192.168.1.1:5000/repo:5050": "192.168.1.1:5000/repo:5050",
    "localhost/app": "localhost/app:latest",
    "localhost:32000/app": "localhost:32000/app:latest",
    "[2001:db8::1]/repo": "[2001:db8::1]/repo:latest",
    "[::1]:5000/repo:tag": "[::1]:5000/repo:tag",
    "[2001:DB8::1]:5000/repo": "[2001:db8::1]:5000/repo:latest",
    "xn--n3h.com/myimage:xn--n3h.com": "xn--n3h.com/myimage:xn--n3h.com",
    "b.gcr.io/test.example.com/my-app:test.example.com": "b.gcr.io/test.example.com/my-app:test.example.com",
    "Foo/bar": "Foo/bar:latest",
    "lowercase:Uppercase": "docker.io/library/lowercase:Uppercase",
    "docker---rules/docker": "docker.io/docker---rules/docker:latest",
    "dock__er/docker": "docker.io/dock__er/docker:latest",
    f"test:5000/repo@{DIGEST}": f"test:5000/repo@{DIGEST}",
    f"test:5000/repo:tag@{DIGEST}": f"test:5000/repo:tag@{DIGEST}",
    f"busybox:latest@{DIGEST}": f"docker.io/library/busybox:latest@{DIGEST}",
    f"xn--7o8h.com/myimage@{LONG}": f"xn--7o8h.com/myimage@{LONG}",
    f"docker.io/{HEX}": f"docker.io/library/{HEX}:latest",
    HEX[:-1]: f"docker.io/library/{HEX[:-1]}:latest",
    "a/" * 100 + "a": "docker.io/" + "a/" * 100 + "a:latest",
}
# What runtimes put into a container's status.
STATUSES = {
    HEX: DIGEST,
    DIGEST: DIGEST,
    LONG: LONG,
    f"docker://{DIGEST}": DIGEST,
    f"docker-pullable://test.com/repo@{DIGEST}": f"test.com/repo@{DIGEST}",
    f"registry.k8s.io/pause@{DIGEST}": f"registry.k8s.io/pause@{DIGEST}",
}
BROKEN = [
    "",
    " ",
    ":justtag",
    f"@{DIGEST}",
    "repo@sha256:ffffffffffffffffffffffffffffffffff",
    f"repo@invalid:{HEX}",
    f"repo@{DIGEST.upper()}",
    f"repo@{DIGEST}@{DIGEST}",
    "repo@",
    "repo:",
    "Uppercase:tag",
    "docker/Docker",
    "test:5000/Uppercase/lowercase:tag",
    "a/" * 128 + "a:tag",
    "aa/asdf$$^/aa",
    "https://github.com/docker/docker",
    "docker///docker",
    "docker/",
    "-docker/docker",
    "docker-/docker",
    "-docker.io/docker",
    "____/____",
    "dock..er/docker",
    "dock_.er/docker",
    "[2001:db8::1]",
    "[2001:db8::1]:5000",
    "fc00::1:5000/debian",
    "[fe80::1%eth0]:5000/repo",
    "[2001:db8:3:4::192.0.2.33]:5000/debian",
    "repo:" + "a" * 129,
    "repo:-a",
    "repo:tag\n",
    "ubuntu ",
    "{{inputs.parameters.image}}",
    "$(params.image)",
    "test.com:٣/repo",
]


@pytest.mark.parametrize(("text", "normalised"), [*NAMES.items(), *STATUSES.items()])
def test_a_reference_is_normalised_as_runtimes_do(text: str, normalised: str) -> None:
    image = parse_image(text)
    assert str(image) == normalised
    assert parse_image(normalised) == image


@pytest.mark.parametrize("text", BROKEN)
def test_what_breaks_the_grammar_is_no_image(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_image(text)


def test_tag_and_digest_are_both_kept() -> None:
    image = parse_image(f"registry.example.com:5000/team/app:v1@{DIGEST}")
    assert image == ImageReference("registry.example.com:5000", "team/app", "v1", DIGEST)


#: Text of the letters that matter here, so that much of it is nearly a reference.
near_references = st.text(alphabet="aAz09.:/@-_[]$ sh256\n\0ü٣", max_size=80) | st.lists(
    st.sampled_from(
        ["a", "B.c", "localhost", "docker.io", ":", "/", "@", "5000", DIGEST, HEX, "[::1]", "docker://"]
    ),
    max_size=7,
).map("".join)


@given(near_references)
def test_any_text_is_either_an_image_in_normal_form_or_none(text: str) -> None:
    try:
        image = parse_image(text)
    except InvalidInputError:
        return
    assert parse_image(str(image)) == image
    assert image.tag is None or is_tag(image.tag)
    assert image.tag or image.digest
    if image.host:
        assert is_host(image.host)
        assert image.host == image.host.lower() or not set(".:") & set(image.host)
        assert is_repository(image.repository)
    else:
        assert image == ImageReference(digest=image.digest)


hosts = st.sampled_from(["registry.example.com", "registry.example.com:5000", "localhost:32000", "[::1]:80"])
repositories = st.lists(st.sampled_from(["team", "app", "a-b", "x__y"]), min_size=1, max_size=3).map("/".join)
digests = st.none() | st.just(DIGEST)
tags = st.none() | st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}", fullmatch=True)


@given(hosts, repositories, tags, digests)
def test_a_full_reference_is_read_back_part_by_part(
    host: str, repository: str, tag: str | None, digest: str | None
) -> None:
    text = f"{host}/{repository}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    wanted = ImageReference(host, repository, tag or (None if digest else "latest"), digest)
    assert parse_image(text) == wanted


def repository(image: str, *aliases: str) -> str | None:
    return Aliases(map(parse_alias, aliases)).repository(parse_image(image))


def test_an_alias_is_a_host_with_its_port() -> None:
    assert repository("registry.example.com/team/app:v1", "registry.example.com") == "team/app"
    assert repository("REGISTRY.example.com/team/app:v1", "Registry.Example.Com") == "team/app"
    assert repository("registry.example.com:443/team/app:v1", "registry.example.com") is None
    assert repository("localhost:32000/app", "registry.example.com", "localhost:32000") == "app"
    assert repository("[::1]:5000/app", "[::1]:5000") == "app"
    assert repository("other.example.com/team/app", "registry.example.com") is None
    assert repository(DIGEST, "docker.io") is None


def test_an_alias_may_cut_off_what_repositories_begin_with_there() -> None:
    assert repository("proxy.example.com/main/team/app", "proxy.example.com/main") == "team/app"
    assert repository("proxy.example.com/main", "proxy.example.com/main") is None
    assert repository("proxy.example.com/mainly/app", "proxy.example.com/main") is None
    assert repository("proxy.example.com/other/app", "proxy.example.com/main/") is None


def test_an_alias_may_put_something_before() -> None:
    assert repository("nginx:1.27", "docker.io=hub") == "hub/library/nginx"
    assert repository("quay.io/org/tool", "quay.io/org=mirrors/quay") == "mirrors/quay/tool"


def test_the_longest_prefix_counts() -> None:
    aliases = ["proxy.example.com", "proxy.example.com/a/b=x", "proxy.example.com/a"]
    assert repository("proxy.example.com/a/b/app", *aliases) == "x/app"
    assert repository("proxy.example.com/a/app", *aliases) == "app"
    assert repository("proxy.example.com/c/app", *aliases) == "c/app"


@pytest.mark.parametrize(
    ("text", "alias"),
    [
        ("registry.example.com", Alias("registry.example.com")),
        (" Registry.example.com:5000/ ", Alias("registry.example.com:5000")),
        ("index.docker.io=hub/", Alias("docker.io", here="hub")),
        ("proxy.example.com/a/b=c/d", Alias("proxy.example.com", "a/b", "c/d")),
    ],
)
def test_aliases_are_written_as_references_begin(text: str, alias: Alias) -> None:
    assert parse_alias(text) == alias
    assert parse_alias(str(alias)) == alias


@pytest.mark.parametrize(
    "text",
    ["", "https://registry.example.com", "registry.example.com/Upper", "a.b/c:tag", "a b", "a.b=", "a.b=/x"],
)
def test_what_is_no_alias_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not a registry's name"):
        parse_alias(text)


def test_a_host_that_no_reference_can_have_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="never take 'registry' for a host") as caught:
        parse_alias("registry")
    assert (
        caught.value.hint
        == "write registry:5000 with its port, or docker.io/registry for that part of Docker Hub"
    )
