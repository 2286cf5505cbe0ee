"""Settings of the daemon's web server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, SecretStr

from reaper.config.fields import TextField
from reaper.config.model import Checked, Fault
from reaper.config.paths import FilePath
from reaper.config.secrets import read_secret
from reaper.core.errors import InvalidInputError

_MAX_PORT: Final = 65535


def _listen(text: str) -> str:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isdecimal() or int(port) > _MAX_PORT or (":" in host and not bracketed):
        hint = "such as 127.0.0.1:8080, or 0.0.0.0:8080 for every interface"
        raise InvalidInputError(f"{text!r} is not an address to listen on", hint=hint)
    return text


class WebSettings(Checked):
    """The daemon's web server."""

    model_config = ConfigDict(title="Web server")

    listen: Annotated[str, TextField(_listen, "an address to listen on: HOST:PORT", str)] = Field(
        default="127.0.0.1:8080", description="`HOST:PORT`."
    )
    token: SecretStr | None = Field(
        default=None, description="A bearer token for everything but health; better in a file."
    )
    token_file: FilePath | None = Field(default=None, description="A file that holds the token.")
    events_secret: SecretStr | None = Field(
        default=None,
        description="What registries send as `Authorization: Bearer …` with events; better in a file.",
    )
    events_secret_file: FilePath | None = Field(default=None, description="A file that holds that secret.")

    @property
    def host(self) -> str:
        """The address without its port and brackets; empty for every interface."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port; 0 for any that is free."""
        return int(self.listen.rpartition(":")[2])

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield secrets that are given twice."""
        for key in ("token", "events_secret"):
            if key in data and f"{key}_file" in data:
                yield Fault(f"{key} stands beside {key}_file", "keep one of them", (key,), of_key=True)

    def read_token(self) -> str | None:
        """Return the token that readers have to show, or None. Raises ReaperError when it cannot be read."""
        return read_secret(self.token, self.token_file)

    def read_events_secret(self) -> str | None:
        """Return the secret that events have to carry, or None. Raises ReaperError when it cannot be read."""
        return read_secret(self.events_secret, self.events_secret_file)
