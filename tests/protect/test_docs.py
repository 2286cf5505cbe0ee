"""The settings in docs/in-use.md are ones that reaper reads."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from reaper.config.settings import load_settings
from reaper.protect.images import Gathering
from reaper.protect.lists import FileSource

DOCS = Path(__file__).parents[2] / "docs" / "in-use.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", DOCS.read_text(), re.DOTALL | re.MULTILINE)
SETTINGS = [text for kind, text in BLOCKS if kind == "yaml" and "kind: ClusterRole" not in text]


@pytest.mark.parametrize("text", SETTINGS)
def test_the_settings_can_be_read(text: str, tmp_path: Path) -> None:
    file = tmp_path / "reaper.yaml"
    file.write_text(text)
    settings = load_settings(file)
    assert settings.in_use.clusters or settings.registries


def test_there_are_examples_of_all_kinds() -> None:
    assert len(SETTINGS) == 3
    assert sum("resources:" in text for text in SETTINGS) == 1


def test_the_list_can_be_read(tmp_path: Path) -> None:
    (text,) = (text for kind, text in BLOCKS if not kind)
    file = tmp_path / "images.txt"
    file.write_text(text)
    found: Gathering = asyncio.run(FileSource(file).gather())
    assert (len(found.images), found.unreadable) == (2, 0)
