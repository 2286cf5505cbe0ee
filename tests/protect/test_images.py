"""What of the images in use concerns one registry."""

from __future__ import annotations

from reaper.core.alias import parse_alias
from reaper.protect.images import Gathering, InUse
from reaper.protect.references import Aliases, parse_image

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def in_use(*images: str, aliases: tuple[str, ...] = ("registry.example.com",)) -> InUse:
    found = InUse(Aliases(map(parse_alias, aliases)))
    for image in images:
        found.add(parse_image(image), f"user of {image}")
    return found


def test_a_tag_counts_in_its_own_repository() -> None:
    found = in_use(
        "registry.example.com/team/app:v1", "other.example.com/team/app:v2", "registry.example.com/x"
    )
    assert dict(found.of("team/app")) == {"v1": "user of registry.example.com/team/app:v1"}
    assert dict(found.of("x")) == {"latest": "user of registry.example.com/x"}
    assert dict(found.of("nothing")) == {}


def test_a_digest_counts_everywhere_whoever_names_it() -> None:
    found = in_use(
        f"registry.example.com/team/app:v1@{DIGEST}", f"docker.io/hub/thing@{OTHER}", f"{'c' * 64}"
    )
    expected = {DIGEST, OTHER, "sha256:" + "c" * 64}
    assert found.of("unrelated").keys() == expected
    assert found.of("team/app").keys() == expected | {"v1"}


def test_the_first_user_of_an_image_is_named() -> None:
    found = InUse(Aliases([parse_alias("registry.example.com")]))
    for user in ("Pod a", "Deployment b"):
        found.add(parse_image(f"registry.example.com/app:v1@{DIGEST}"), user)
    assert found.of("app")["v1"] == "Pod a"
    assert found.of("app")[DIGEST] == "Pod a"


def test_references_of_this_registry_are_counted() -> None:
    found = in_use("registry.example.com/app", "registry.example.com/app:v1", "nginx", DIGEST)
    assert (found.ours, found.named) == (2, 3)


def test_what_is_new_since_an_earlier_reading() -> None:
    before = in_use("registry.example.com/app:v1", DIGEST)
    after = in_use("registry.example.com/app:v1", "registry.example.com/app:v2", DIGEST, OTHER)
    news = after.without(before)
    assert news.of("app").keys() == {"v2", OTHER}
    assert news.of("else").keys() == {OTHER}
    assert dict(before.without(after).of("app")) == {}


def test_hosts_whose_repositories_are_called_as_ours_are_pointed_out() -> None:
    found = in_use(
        "registry.example.com/team/app",
        "registry.internal:5000/team/app",
        "registry.internal:5000/team/web",
        "staging.example.com/team/app",
        "nginx",
        "quay.io/org/tool",
    )
    repositories = ["team/app", "team/web", "team/other"]
    (warning,) = found.lookalikes(repositories, {"staging.example.com"})
    assert (
        "come from registry.internal:5000, where 2 repositories are called as here (team/app, team/web)"
        in warning
    )
    assert "add it to the registry's hosts" in warning
    assert list(found.lookalikes([], ())) == []


def test_each_user_counts_once_for_an_image() -> None:
    gathering = Gathering()
    gathering.add("Pod a", ["nginx", "docker.io/library/nginx:latest", "nginx:1"])
    gathering.add("Pod b", ["nginx"])
    gathering.add("Pod c", [])
    assert gathering.read == 3
    assert {str(image): str(users) for image, users in gathering.images.items()} == {
        "docker.io/library/nginx:latest": "Pod a and 1 more",
        "docker.io/library/nginx:1": "Pod a",
    }


def test_what_is_no_image_is_counted_with_a_few_examples() -> None:
    gathering = Gathering()
    for number in range(5):
        gathering.add(f"Pod {number}", ["Not An Image", "nginx"])
    gathering.add("Pod long", ["x y" * 1000])
    assert gathering.unreadable == 6
    assert gathering.examples == [f"'Not An Image' (Pod {number})" for number in range(3)]
    assert len(gathering.images) == 1
