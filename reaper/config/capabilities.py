"""Settings of what a registry can do, where that is not to be found out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import ConfigDict, Field

from reaper.config.model import Checked


class CapabilitiesSettings(Checked):
    """What the registry can do. What is left out is found out; `reaper check --registry` shows it."""

    model_config = ConfigDict(title="Capabilities")
    hints: ClassVar[Mapping[str, str]] = {
        "untag": "untag stands beside capabilities",
        "product": "product stands beside capabilities",
        "delete_by_tag": "untag: alone, beside capabilities",
    }

    referrers: bool | None = Field(default=None, description="Whether it has the referrers API.")
    catalog: bool | None = Field(default=None, description="Whether it lists its repositories.")
    page_size: int | None = Field(
        default=None, ge=1, le=100_000, description="The most names that it gives at a time."
    )
