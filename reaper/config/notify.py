"""Settings of what reaper tells others about its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, SecretStr

from reaper.config.model import Checked, Fault
from reaper.config.paths import FilePath
from reaper.config.secrets import read_secret

#: What is told about unless the settings say otherwise: whatever wants a person.
_TROUBLE: Final = ("blocked", "failed", "partial")

#: `digest`: every run that a schedule began, whatever became of it.
Occasion = Literal["blocked", "failed", "partial", "digest"]


class NotifySettings(Checked):
    """One receiver of notifications. Its URL is a secret: whoever knows it can write there."""

    model_config = ConfigDict(title="Notification")
    hints: ClassVar[Mapping[str, str]] = {"webhook": "did you mean 'url_file' or 'url'?"}

    name: str = Field(min_length=1, description="What logs and metrics call the receiver.")
    url: SecretStr | None = Field(default=None, description="Where to POST to; better in a file.")
    url_file: FilePath | None = Field(default=None, description="A file that holds the URL.")
    format: Literal["json", "slack"] = Field(
        default="json", description="json: the run's figures; slack: a text, as Slack and Mattermost take it."
    )
    on: Annotated[list[Occasion], Field(min_length=1)] = Field(
        default=list(_TROUBLE), description="What to tell about; `digest` is every scheduled run."
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield a receiver without a URL, or with two."""
        if "url" in data and "url_file" in data:
            yield Fault("url stands beside url_file", "keep one of them", ("url",), of_key=True)
        elif "url" not in data and "url_file" not in data:
            yield Fault("there is no url", "add url_file", ("name",), of_key=True)

    def read_url(self) -> str:
        """Return where to send to. Raises ReaperError when it cannot be read."""
        return read_secret(self.url, self.url_file) or ""
