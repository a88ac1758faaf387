"""Which files and folders can be archives of ours, by their names and first bytes."""

from __future__ import annotations

from pathlib import Path

from synthtrial.errors import ConfigError, StoreError
from synthtrial.store.root import STORE_FILE

ABOUT = "archive.json"
TAR = ".tar"
AGAIN = "Copy it again from where it was made, or export it anew"
_WANTED = "import takes a .tar file, or a folder, that `synthtrial export` wrote"
#: Ends of names that promise another format.
_OTHERS = (
    *(".7z", ".bz2", ".gz", ".lz", ".lz4", ".lzma", ".rar", ".xz", ".z", ".zip", ".zst"),
    *(".tbz", ".tbz2", ".tgz", ".txz", ".tzst"),
)
#: How files of other formats begin. Those of tar say so at byte 257 (POSIX.1-1988, "ustar").
_BEGINNINGS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
}
_MAGIC, _MAGIC_AT = b"ustar", 257


def check_new(out: Path) -> None:
    """Refuse a name that no archive can be written to.

    Args:
        out: of the archive to be made: a tar file if its name ends in ``.tar``, else a folder.

    Raises:
        ConfigError: the name promises a format that is not written.
        StoreError: something of this name exists.
    """
    stem = out
    while stem.suffix.lower() in (*_OTHERS, TAR):
        stem = stem.with_suffix("")
    if out.suffix != TAR and stem != out:
        raise ConfigError(
            f"'{out}' ends in {out.suffix}, and no archive of that kind is written. Allowed: a "
            f"name that ends in .tar, such as '{stem}{TAR}', or a folder's, such as '{stem}'"
        )
    if out.exists():
        raise StoreError(
            f"{out.absolute()} exists already: give the archive another name, or remove what is "
            "there"
        )


def check_readable(path: Path) -> None:
    """Refuse what cannot be an archive, as far as its first bytes tell.

    Raises:
        StoreError: it is missing, another kind of file, or a folder without ``archive.json``.
    """
    if path.is_dir():
        _check_folder(path)
        return
    if not path.exists():
        raise StoreError(f"there is no archive at {path}: {_WANTED}")
    if not path.is_file():  # a pipe would be waited for
        raise StoreError(f"{path} is no regular file: {_WANTED}")
    try:
        with path.open("rb") as file:
            start = file.read(_MAGIC_AT + len(_MAGIC))
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror}. Mend that, or copy it to where it can be"
        ) from None
    if not start:
        raise StoreError(f"{path} is an empty file, and no archive. {AGAIN}")
    for beginning, name in _BEGINNINGS.items():
        if start.startswith(beginning):
            raise StoreError(
                f"{path} is compressed ({name}), and {_WANTED}: unpack it, and import what was in "
                "it"
            )
    if start[_MAGIC_AT:] != _MAGIC:
        raise StoreError(f"{path} is no tar file, and {_WANTED}. {AGAIN}")


def _check_folder(path: Path) -> None:
    if (path / ABOUT).is_file():
        return
    if (path / STORE_FILE).is_file():
        raise StoreError(
            f"{path} is a store, and no archive of one: use it as it is, with store.path={path}, "
            "or make an archive of it with `synthtrial export STUDY@STORE FILE.tar --all`"
        )
    raise StoreError(
        f"{path} has no {ABOUT}: it is no export of synthtrial, or was cut off. {AGAIN}"
    )
