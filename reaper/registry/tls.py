"""Who is believed to be the registry, and what reaper shows of itself: authorities, client certificates."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from reaper.core.errors import InvalidInputError

#: Where the containers tools and Docker have a folder for each host (containers-certs.d(5), Docker's "Verify
#: repository client with certificates"); the first one that has one for the host is used, as there.
_USUAL_FOLDERS = (
    "~/.config/containers/certs.d",
    "~/.config/docker/certs.d",
    "/etc/containers/certs.d",
    "/etc/docker/certs.d",
)


@dataclass(frozen=True, slots=True)
class TLSOptions:
    """How the registry proves who it is, and how reaper does. ``insecure`` takes anybody's word for it.

    ``client_key_file`` may be missing where ``client_cert_file`` holds the key too. ``certs_dir`` holds
    a folder for each host, instead of those in the usual places.
    """

    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    certs_dir: Path | None = None
    insecure: bool = False


def tls_context(tls: TLSOptions, folder: Path | None, *, own: bool, insecure: bool) -> ssl.SSLContext:
    """Return how to speak TLS with a host, whose ``folder`` in ``certs.d`` is this one.

    The files are read now. ``own``: it is the registry's own host, to which the client certificate of the
    settings is shown. ``insecure``: its certificate is not looked at.

    Raises:
        InvalidInputError: a certificate or a key cannot be used.
    """
    context = ssl.create_default_context()
    if tls.ca_file is not None:
        _trust(context, tls.ca_file, "the CA file")
    if folder is not None:
        for file in _files(folder, ".crt"):
            _trust(context, file, "the CA file")
        for certificate, key in _pairs(folder):
            _show(context, certificate, key)
    if own and tls.client_cert_file is not None:
        _show(context, tls.client_cert_file, tls.client_key_file)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def certs_folder(tls: TLSOptions, host: str) -> Path | None:
    """Return the folder of ``host`` (with its port, where the URL has one) in ``certs.d``, if there is one.

    Raises:
        InvalidInputError: the settings name a folder that is none.
    """
    if tls.certs_dir is not None and not tls.certs_dir.is_dir():
        raise InvalidInputError(f"certs_dir {tls.certs_dir} is not a folder")
    bare = host.removesuffix(":443")
    names = dict.fromkeys([host, bare, f"{bare}:443"]) if bare != host or not _has_port(host) else [host]
    for root in [tls.certs_dir] if tls.certs_dir else _usual_folders():
        for name in names:
            try:
                if (root / name).is_dir():
                    return root / name
            except PermissionError:
                # Not for reaper: the containers tools pass such a folder over, too.
                continue
    return None


def _usual_folders() -> Iterator[Path]:
    for each in _USUAL_FOLDERS:
        with suppress(RuntimeError):  # A container's user need not have a home.
            yield Path(each).expanduser()


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]


def _files(folder: Path, suffix: str) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.suffix == suffix)
    except OSError as error:
        raise InvalidInputError(f"cannot read {folder}: {error.strerror}") from error


def _pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the client certificates of a folder, each with its key."""
    certificates, keys = _files(folder, ".cert"), _files(folder, ".key")
    for certificate in certificates:
        key = certificate.with_suffix(".key")
        if key not in keys:
            raise InvalidInputError(f"{certificate} has no key", hint=f"put it into {key}")
        yield certificate, key
    for key in keys:
        if key.with_suffix(".cert") not in certificates:
            hint = f"put it into {key.with_suffix('.cert')}; .crt means an authority's"
            raise InvalidInputError(f"{key} has no certificate", hint=hint)


def _trust(context: ssl.SSLContext, file: Path, what: str) -> None:
    try:
        context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(f"cannot use {what} {file}: {_why(error)}") from error


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    def locked() -> NoReturn:
        raise InvalidInputError(
            f"the key of the client certificate {certificate} is encrypted",
            hint="write it without a passphrase into a file that only reaper can read",
        )

    try:
        context.load_cert_chain(certificate, key, password=locked)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(f"cannot use the client certificate {certificate}: {_why(error)}") from error


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key is another certificate's"
        return "it is not a PEM file of the right kind"
    return error.strerror or type(error).__name__
