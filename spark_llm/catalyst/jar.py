"""Writes a jar that is the same to the byte whenever its contents are."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path

MANIFEST = "META-INF/MANIFEST.MF"

# The oldest time a zip can hold: a build's own time would make every jar a new one.
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def write_jar(jar: Path, entries: dict[str, bytes], manifest: dict[str, str]) -> None:
    """Writes `entries` and a manifest to `jar`, replacing it in one step.

    Args:
        jar: File to write. A process that has the old one open keeps reading the old one.
        entries: Name in the jar to bytes; written in the order of their names.
        manifest: Main attributes; `Manifest-Version` is added. Lines hold at most 72 bytes.

    Raises:
        ValueError: A manifest line is too long.
    """
    jar.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{key}: {value}" for key, value in {"Manifest-Version": "1.0", **manifest}.items()]
    if too_long := [line for line in lines if len(line.encode()) > 72]:
        raise ValueError(f"a manifest line holds at most 72 bytes, got {too_long[0]!r}")
    handle, temporary = tempfile.mkstemp(dir=jar.parent, prefix=f".{jar.name}.")
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            # The manifest comes first: java.util.jar.JarInputStream looks for it nowhere else.
            _add(archive, MANIFEST, "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")
            for name in sorted(entries):
                _add(archive, name, entries[name])
        Path(temporary).chmod(0o644)
        Path(temporary).replace(jar)
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_manifest(jar: Path) -> dict[str, str]:
    """Main attributes of a jar; empty when the file is missing or no jar."""
    try:
        with zipfile.ZipFile(jar) as archive:
            text = archive.read(MANIFEST).decode()
    except (OSError, KeyError, zipfile.BadZipFile):
        return {}
    pairs = (line.partition(": ") for line in text.splitlines())
    return {key: value for key, separator, value in pairs if separator}


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _FIXED_TIME)
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)
