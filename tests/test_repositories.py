"""Where the names of repositories come from, in which order, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import web

from reaper.core.errors import InvalidInputError, ReaperError
from reaper.core.selectors import EVERYTHING, Glob, Selector
from reaper.registry import DeniedError, UnsupportedError
from reaper.repositories import Lister, Listing, Named, Repositories, check_selected
from tests.registry.fake import Fake, with_fake


async def catalog(_request: web.Request) -> web.Response:
    return web.json_response({"repositories": ["b", "a", "Bad", "a"]})


def listing(
    named: Named | None = None,
    *,
    product: Lister | None = None,
    whole: bool = True,
    has_catalog: bool | None = None,
    answer: int = 200,
) -> tuple[Listing, list[str]]:
    """Return what is listed, and what the registry was asked for."""

    async def handler(request: web.Request) -> web.Response:
        return await catalog(request) if answer == 200 else web.Response(status=answer)

    async def ask(fake: Fake) -> tuple[Listing, list[str]]:
        async with fake.client() as client:
            source = Repositories(
                client, named=named, product=product, product_whole=whole, catalog=has_catalog
            )
            return await source.list(), fake.paths()

    return with_fake(handler, ask)


def lists(*names: str) -> Lister:
    async def product() -> Sequence[str]:
        return names

    return product


async def lists_nothing() -> None:
    return None


class TestOrder:
    def test_the_catalog_where_there_is_nothing_else(self) -> None:
        found, _ = listing(product=lists_nothing)
        assert (found.names, found.invalid) == (["a", "b"], ["Bad"])
        assert found.errors == {"Bad": "the catalog has an invalid name 'Bad'"}
        assert found.whole

    @pytest.mark.parametrize("whole", [True, False])
    def test_a_product_before_the_catalog(self, whole: bool) -> None:
        found, asked = listing(product=lists("y", "x"), whole=whole)
        assert (found.names, found.whole, asked) == (["x", "y"], whole, [])

    def test_the_settings_before_both(self) -> None:
        found, asked = listing(Named(names=["z"]), product=lists("x"), has_catalog=False)
        assert (found.names, found.source, found.whole, asked) == (["z"], "the settings", False, [])


class TestNamed:
    @pytest.mark.parametrize(
        "command",
        [
            ("printf", r"team/b\nteam/a\n"),
            ("printf", r"team/b\tteam/a"),
            ("printf", r"team/a team/b # all\n"),
        ],
    )
    def test_a_command_may_print_several_on_a_line(self, command: tuple[str, ...]) -> None:
        assert listing(Named(command=command))[0].names == ["team/a", "team/b"]

    def test_everything_counts_once(self, tmp_path: Path) -> None:
        file = tmp_path / "list"
        file.write_text("# ours\na\r\n\nb   # this as well\n")
        found, _ = listing(Named(["b", "c"], file, ("echo", "C d")))
        assert (found.names, found.invalid) == (["a", "b", "c", "d"], ["C"])
        assert found.source == f"the settings and file {file} and command echo"

    @pytest.mark.parametrize(
        ("named", "says"),
        [
            (Named(file=Path("/nowhere")), "file /nowhere cannot be read: No such file or directory"),
            (Named(command=("true",)), "command true names no repository"),
            (Named(command=("sh", "-c", "echo a; exit 3")), "command sh ended with exit code 3"),
            (Named(command=("sleep", "60"), limit=0.1), "sleep took longer than 0.1 seconds"),
            (Named(command=("/nowhere/list",)), "could not be started"),
        ],
    )
    def test_a_list_that_cannot_be_had_is_an_error(self, named: Named, says: str) -> None:
        with pytest.raises(ReaperError, match=says):
            listing(named)


class TestWithout:
    @pytest.mark.parametrize("status", [404, 405, 501])
    def test_a_registry_without_a_catalog_leads_to_the_setting(self, status: int) -> None:
        with pytest.raises(UnsupportedError, match=f"has no catalog of repositories .{status}.") as caught:
            listing(answer=status)
        assert "registries[].repositories" in (caught.value.hint or "")

    def test_so_does_one_that_lists_nothing_to_this_login(self) -> None:
        with pytest.raises(DeniedError) as caught:
            listing(answer=403)
        assert "registries[].repositories" in (caught.value.hint or "")

    def test_and_one_that_the_settings_say_has_none(self) -> None:
        with pytest.raises(UnsupportedError, match="as the settings say"):
            listing(has_catalog=False)


def test_many_invalid_names_are_a_few_errors() -> None:
    many = Listing([], [f"No{number:03}" for number in range(100)], "it", True)
    assert len(many.errors) == 21
    assert many.errors["…"] == "it has 80 more invalid names"
    (shown,) = Listing([], ["a\x1b" + "b" * 500], "it", True).errors
    assert shown == "a?" + "b" * 78 + "…"


def test_a_selection_of_nothing_is_refused() -> None:
    names = ["team/app", "team/worker"]
    check_selected(EVERYTHING, [])
    check_selected(Selector((Glob("team/*"),)), names)
    with pytest.raises(InvalidInputError, match="no repository matches 'team/ap'") as caught:
        check_selected(Selector((Glob("team/ap"),)), names)
    assert caught.value.hint == "did you mean 'team/app'?"
    with pytest.raises(InvalidInputError) as caught:
        check_selected(Selector((Glob("zzz"),)), names)
    assert caught.value.hint == "`reaper ls` lists the repositories"
