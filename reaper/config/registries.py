"""Settings of one registry: where it is, who reaper is there, and how it is collected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, SecretStr

from reaper.config.capabilities import CapabilitiesSettings
from reaper.config.collection import CollectSettings
from reaper.config.fields import SomeDuration, TextField
from reaper.config.login import Login, login_faults, read_login
from reaper.config.model import Checked, Fault
from reaper.config.paths import FilePath, FilePaths
from reaper.config.product import Product, ProductSettings
from reaper.config.repositories import Repositories
from reaper.config.urls import registry_url
from reaper.core.alias import Alias, parse_alias
from reaper.core.errors import InvalidInputError
from reaper.core.reference import is_host


def _registry_name(text: str) -> str:
    if not text or not text.isascii() or not all(c.isalnum() or c in "._-" for c in text):
        raise InvalidInputError("a registry's name has letters, digits and . _ - only")
    return text


def _token_host(text: str) -> str:
    if not is_host(text):
        raise InvalidInputError("this is not a host", hint="write one such as auth.internal:8080")
    return text.lower()


_TokenHost = Annotated[str, TextField(_token_host, "a host, such as auth.internal", str)]
_Host = Annotated[Alias, TextField(parse_alias, "a host, such as registry.example.com:5000", Alias)]


class RegistrySettings(Checked):
    """One registry. A login is a user's name and password, a token, or Docker's own configuration."""

    model_config = ConfigDict(title="Registry")
    hints: ClassVar[Mapping[str, str]] = {
        "name": "--registry and reports call the registry by its name",
        "url": "add url: https://registry.example.com",
        "host": "did you mean 'url'?",
        "user": "did you mean 'username'?",
        "pass": "did you mean 'password_file'?",
        "ca": "did you mean 'ca_file'?",
        "cert_file": "did you mean 'client_cert_file'?",
        "key_file": "did you mean 'client_key_file'?",
        "verify": "did you mean 'insecure'?",
    }

    name: Annotated[str, TextField(_registry_name, "a name", str)] = Field(
        description="What --registry and reports call the registry. Unique."
    )
    url: Annotated[str, TextField(registry_url, "a URL", str)] = Field(
        description="Where it is, without a login."
    )
    username: str | None = Field(default=None, min_length=1, description="The user's name.")
    password: SecretStr | None = Field(default=None, description="The password; better in a file.")
    password_file: FilePath | None = Field(default=None, description="A file that holds the password.")
    token: SecretStr | None = Field(default=None, description="A bearer token; better in a file.")
    token_file: FilePath | None = Field(default=None, description="A file that holds the token.")
    docker_config: FilePath | None = Field(
        default=None, description="Docker's config.json, or the folder of it, to take the login from."
    )
    ca_file: FilePath | None = Field(
        default=None, description="Certificates (PEM) to trust for this registry, besides the system's."
    )
    client_cert_file: FilePath | None = Field(
        default=None, description="The certificate (PEM) that reaper shows to the registry."
    )
    client_key_file: FilePath | None = Field(
        default=None, description="Its key (PEM), where that is not in client_cert_file; not encrypted."
    )
    certs_dir: FilePath | None = Field(
        default=None,
        description="A folder with a folder for each host, as Docker's certs.d; instead of the usual ones.",
    )
    insecure: bool = Field(
        default=False,
        description="Whether any certificate is taken, unchecked. For plain HTTP, write http://.",
    )
    token_hosts: Annotated[list[_TokenHost], Field(min_length=1)] | None = Field(
        default=None,
        description="Other hosts, as `HOST[:PORT]`, that may be shown the login for a token without TLS.",
    )
    concurrency: int = Field(default=16, ge=1, le=256, description="The most requests at a time.")
    timeout: SomeDuration = Field(default=timedelta(seconds=60), description="How long an answer may take.")
    connect_timeout: SomeDuration = Field(
        default=timedelta(seconds=10), description="How long a connection may take to stand."
    )
    policies: FilePaths | None = Field(
        default=None, description="Policies of this registry alone, instead of the settings' own."
    )
    repositories: Repositories | None = Field(
        default=None,
        description="The repositories there are, where the registry has no catalog of them, or not of all.",
    )
    product: Product = Field(
        default=ProductSettings(), description="The product behind it, whose own API knows more times."
    )
    untag: Literal["auto", "alone", "placeholder", "never"] = Field(
        default="auto",
        description="How an expired tag is taken off a manifest that stays. `auto`: where the registry can "
        "delete a tag alone, which is found out; `alone`: it can; `placeholder`: where it cannot, the tag is "
        "moved onto a placeholder, which is deleted (a push in that moment is lost: see registries.md); "
        "`never`: the tag is left.",
    )
    capabilities: CapabilitiesSettings = Field(
        default=CapabilitiesSettings(), description="What the registry can do."
    )
    hosts: Annotated[list[_Host], Field(min_length=1)] | None = Field(
        default=None,
        description="Other names by which images in use call this registry, as "
        "`HOST[:PORT][/PREFIX][=PREFIX]`: the first prefix is cut off repositories, the second put before.",
    )
    collect: CollectSettings = Field(default=CollectSettings(), description="How its storage is collected.")

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield logins that contradict each other or lack a half."""
        yield from login_faults(data)
        if "client_key_file" in data and "client_cert_file" not in data:
            fix = "add client_cert_file"
            yield Fault("client_key_file has no certificate", fix, ("client_key_file",), of_key=True)

    def credentials(self) -> Login | None:
        """Return the login that is configured here, or None. Files are read anew each time.

        Raises:
            ReaperError: a file cannot be read, or holds no secret.
        """
        return read_login(self)
