"""Settings of one registry: where it is, who reaper is there, and how it is collected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import ConfigDict, Field, SecretStr

from reaper.config.collection import CollectSettings
from reaper.config.fields import SomeDuration, TextField
from reaper.config.model import Checked, Fault
from reaper.config.paths import FilePath, FilePaths
from reaper.config.repositories import Repositories
from reaper.config.secrets import read_secret
from reaper.core.alias import Alias, parse_alias
from reaper.core.errors import InvalidInputError
from reaper.core.reference import is_host

_PORTS: Final = {"https": 443, "http": 80}
_EXAMPLE: Final = "write one such as https://registry.example.com"


@dataclass(frozen=True, slots=True)
class Login:
    """What to show a registry: a user's name and password, or a token. Never in a repr."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


def registry_url(text: str) -> str:
    """Return the registry's URL as it was written, without a trailing slash. It may lack a scheme.

    Raises:
        InvalidInputError: it is not one, or it carries a login; then the message does not repeat it.
    """
    url = text.strip().rstrip("/")
    if "@" in url:
        hint = "give username and password_file, or docker_config"
        raise InvalidInputError("a registry's URL must not carry a login", hint=hint)
    try:
        parts = _split(url)
        valid = parts.scheme in ("", *_PORTS) and parts.hostname and parts.port != 0 and url[-1] != ":"
    except ValueError:
        valid = False
    if not valid or any(character.isspace() for character in url):
        raise InvalidInputError("this is not a registry's URL", hint=_EXAMPLE)
    if "?" in url or "#" in url:
        raise InvalidInputError("a registry's URL has neither ? nor #", hint=_EXAMPLE)
    return url


def same_registry(first: str, second: str) -> bool:
    """Tell whether two valid URLs are of one registry; one without a scheme may have either."""
    one, other = _split(first), _split(second)
    if one.scheme and other.scheme and one.scheme != other.scheme:
        return False
    default = _PORTS[one.scheme or other.scheme or "https"]
    return (one.hostname, one.port or default, one.path) == (
        other.hostname,
        other.port or default,
        other.path,
    )


def _split(url: str) -> SplitResult:
    return urlsplit(url if "://" in url else f"//{url}")


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
        default=False, description="Whether any certificate is taken, unchecked. For plain HTTP, write http://."
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
    hosts: Annotated[list[_Host], Field(min_length=1)] | None = Field(
        default=None,
        description="Other names by which images in use call this registry, as "
        "`HOST[:PORT][/PREFIX][=PREFIX]`: the first prefix is cut off repositories, the second put before.",
    )
    collect: CollectSettings = Field(default=CollectSettings(), description="How its storage is collected.")

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield logins that contradict each other or lack a half."""
        for first, second in (("password", "password_file"), ("token", "token_file")):
            if first in data and second in data:
                yield Fault(f"{first} stands beside {second}", "keep one of them", (first,), of_key=True)
        password = next((key for key in ("password", "password_file") if key in data), None)
        token = next((key for key in ("token", "token_file") if key in data), None)
        if token and (password or "username" in data):
            hint = "a login is a name with a password, or a token"
            yield Fault(f"{token} stands beside {password or 'username'}", hint, (token,), of_key=True)
        elif "username" in data and not password:
            yield Fault("username has no password", "add password_file", ("username",), of_key=True)
        elif password and "username" not in data:
            yield Fault(f"{password} has no username", "add username", (password,), of_key=True)
        if "client_key_file" in data and "client_cert_file" not in data:
            fix = "add client_cert_file"
            yield Fault("client_key_file has no certificate", fix, ("client_key_file",), of_key=True)

    def credentials(self) -> Login | None:
        """Return the login that is configured here, or None. Files are read anew each time.

        Raises:
            ReaperError: a file cannot be read, or holds no secret.
        """
        if self.username is not None:
            return Login(username=self.username, password=read_secret(self.password, self.password_file))
        if self.token is not None or self.token_file is not None:
            return Login(token=read_secret(self.token, self.token_file))
        return None
