"""Files behind a path, a folder, a glob or a URL, on this machine or in a storage."""

import os
from itertools import islice
from typing import NoReturn

import fsspec

from stages.core.errors import UserError, brief

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
STORAGES = {"botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "azure", "paramiko"}


def storage_error(source: str, error: Exception) -> Exception:
    """A `UserError` for an error of a storage's own kind, such as missing credentials for S3."""
    library = type(error).__module__.partition(".")[0]
    if library not in STORAGES:
        return error
    return UserError(f"{source}: cannot be reached: {brief(error, 200)}")


def files_of(source: str, advice: str) -> list[str]:
    """The files behind a path, a folder, a glob or an fsspec URL, in a fixed order.

    Args:
        source: path, folder, glob or URL.
        advice: what to do if there is none.
    """
    try:
        system, path = fsspec.core.url_to_fs(source)
        if system.isfile(path):
            return [source]  # as relative as it came: rejected.csv names it
        root = path.partition("*")[0].rpartition("/")[0] if "*" in path else path
        if "file" in system.protocol:  # fsspec leaves out the files of unreadable folders
            folders = os.walk(root, onerror=_fail)
            list(folders if "*" not in path or "**" in path else islice(folders, 1))
        files = system.glob(path) if "*" in path else system.find(path)
        if "*" not in path:
            files = [name for name in files if name.lower().endswith(SUFFIXES)]
    except FileNotFoundError:
        files = []
    except OSError as error:
        reason = f"{error.filename or source}: {error.strerror or brief(error, 200)}"
        raise UserError(reason) from None
    except (ValueError, ImportError) as error:
        raise UserError(f"{source}: {brief(error, 200)}") from None
    except Exception as error:
        raise storage_error(source, error) from None
    if not files:
        raise UserError(f"{source}: no such CSV or Parquet; {advice}")
    return [system.unstrip_protocol(name) if "://" in source else name for name in sorted(files)]


def _fail(error: OSError) -> NoReturn:
    raise error
