"""What was in use is remembered, by source and image, with the time that it was last seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from reaper.core.in_use import Sighting
from reaper.store import Store
from tests.store.helpers import AT

SEEN = Sighting("cluster prod", "registry.example.com/app:v1", "Pod shop/web in cluster prod", AT)


def test_an_image_is_known_by_source_with_the_time_it_was_last_seen(store: Store) -> None:
    later = replace(SEEN, user="Pod shop/api in cluster prod", seen_at=AT + timedelta(hours=1))
    elsewhere = replace(SEEN, source="cluster test")
    store.in_use.remember([SEEN, elsewhere])
    store.in_use.remember([later])
    assert store.in_use.recall(AT) == [later, elsewhere]


def test_what_was_seen_before_the_period_is_not_recalled_and_can_be_forgotten(store: Store) -> None:
    old = replace(SEEN, image="registry.example.com/app:v0", seen_at=AT - timedelta(days=8))
    store.in_use.remember([old, SEEN])
    week = AT - timedelta(days=7)
    assert store.in_use.recall(week) == [SEEN]
    assert store.in_use.recall(AT - timedelta(days=30)) == [SEEN, old]
    assert store.in_use.forget(week) == 1
    assert store.in_use.recall(AT - timedelta(days=30)) == [SEEN]


def test_many_images_and_none(store: Store) -> None:
    many = [replace(SEEN, image=f"registry.example.com/app:{number}") for number in range(3000)]
    store.in_use.remember([])
    store.in_use.remember(many)
    assert len(store.in_use.recall(AT)) == 3000


def test_what_a_database_refuses_in_a_text_is_no_obstacle(store: Store) -> None:
    store.in_use.remember([replace(SEEN, user="Pod \0\ud800")])
    assert store.in_use.recall(AT)[0].user == "Pod \\x00\\ud800"
