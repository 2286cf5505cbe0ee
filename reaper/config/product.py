"""Settings of the product behind a registry, and how its own API is reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, SecretStr

from reaper.config.fields import TextField
from reaper.config.login import Login, login_faults, read_login
from reaper.config.model import Checked, Fault, Shorthand
from reaper.config.paths import FilePath
from reaper.config.urls import registry_url

#: What each product's API takes besides the registry's own address and login.
_TAKES: Final[Mapping[str, frozenset[str]]] = {
    "harbor": frozenset({"url", "username", "password", "password_file"}),
    "quay": frozenset({"url", "token", "token_file"}),
    "gitlab": frozenset({"url", "token", "token_file", "groups"}),
}


class ProductSettings(Checked):
    """The product behind a registry. Its own API may know when images were pushed and pulled."""

    model_config = ConfigDict(title="Product")
    hints: ClassVar[Mapping[str, str]] = {
        "host": "did you mean 'url'?",
        "user": "did you mean 'username'?",
        "api_token": "did you mean 'token'?",
        "namespaces": "did you mean 'groups'?",
    }

    name: Literal["auto", "none", "zot", "harbor", "quay", "gitlab", "acr"] = Field(
        default="auto",
        description="Which it is. auto: zot, Harbor, GitLab and ACR are recognised; none: no API is asked.",
    )
    url: Annotated[str, TextField(registry_url, "a URL", str)] | None = Field(
        default=None, description="Where its API is, if that is not the registry's own URL."
    )
    username: str | None = Field(
        default=None, min_length=1, description="The API's user, if it is not the registry's (Harbor)."
    )
    password: SecretStr | None = Field(default=None, description="The user's password; better in a file.")
    password_file: FilePath | None = Field(default=None, description="A file that holds the password.")
    token: SecretStr | None = Field(
        default=None, description="The API's token (Quay, GitLab); better in a file."
    )
    token_file: FilePath | None = Field(default=None, description="A file that holds the token.")
    groups: Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None,
        description="GitLab's groups whose repositories there are: its registry has no catalog for others.",
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield what the product's API has no use for, and logins that lack a half."""
        yield from login_faults(data)
        name = str(data.get("name", "auto"))
        for key in sorted(data.keys() & frozenset().union(*_TAKES.values()) - _TAKES.get(name, frozenset())):
            takers = sorted(product for product, keys in _TAKES.items() if key in keys)
            yield Fault(
                f"{key} is not for product {name}", f"write name: {' or '.join(takers)}", (key,), of_key=True
            )
        if name == "gitlab" and "groups" in data and "url" not in data:
            yield Fault("groups have no url", "add the url of GitLab itself", ("groups",), of_key=True)
        if name == "gitlab" and "url" in data and "groups" not in data:
            yield Fault(
                "url has no groups", "add groups, which alone are asked for there", ("url",), of_key=True
            )

    def credentials(self) -> Login | None:
        """Return the API's own login, or None. Files are read anew each time.

        Raises:
            ReaperError: a file cannot be read, or holds no secret.
        """
        return read_login(self)


def _as_mapping(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


#: A product; its name may stand for it.
Product = Annotated[
    ProductSettings, Shorthand(_as_mapping, (), "a product's name, or a mapping with name", dict, "name")
]
