"""
The code of a deployed process in a storage block: uploaded by ``deploy``, pulled by each flow run.

Each deployment has a folder of its own in the block, with a list of its files and their hashes. Whatever else is in
the block is never read, replaced or removed.
"""

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pygeoapi_prefect.exceptions import ConfigurationError, ResultNotAvailableError
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.results.store import is_inside

PULL_STEP = f"{__name__}.pull_from_block"
"""Name of the step in a deployment's ``pull_steps``."""

LIST_NAME = ".pygeoapi-prefect.json"
"""The list of files in the folder of a deployment. No code file has this name: hidden files are left out."""

IGNORE_NAME = ".prefectignore"
"""In the folder that is uploaded; the syntax is that of ``.gitignore``."""

PULL_ATTEMPTS = 30
PULL_PAUSE_SECONDS = 2.0
"""Together a minute, for an upload that is under way."""

_UNDER_WAY = ""
"""Instead of a hash: what the file holds is not known, until its upload is complete."""

PRESENT = frozenset({"pygeoapi", "pygeoapi_prefect"})
"""Packages that no worker does without."""


class CodeChangedError(ConfigurationError):
    """The files in a block are not those of its list: a ``deploy`` is under way, or was broken off."""


@dataclass(frozen=True, slots=True)
class CodeChanges:
    """
    What an upload does to the files in the block, by their paths.

    Attributes:
        uploaded: New, or not the same any more.
        removed: Of an earlier upload, and gone since.
    """

    uploaded: tuple[str, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.uploaded or self.removed)


def code_of_folder(folder: Path) -> dict[str, Path]:
    """
    The files of a folder.

    Left out are hidden files and folders, bytecode, and what a ``.prefectignore`` in the folder names.

    Returns:
        Files by their paths below the folder, with ``/``.
    """
    is_ignored = _ignored(folder)
    return {name: path for path in _visible(folder) if not is_ignored(name := path.relative_to(folder).as_posix())}


def code_of_modules(names: Iterable[str]) -> dict[str, Path]:
    """
    The files that modules need, as they have to stand in a folder of the import path.

    Of a module in a package that is the whole topmost package, of any other the file itself. Those of
    :data:`PRESENT` are left out.

    Args:
        names: Of modules that have been imported.

    Raises:
        ConfigurationError: A module has no source file.
    """
    files: dict[str, Path] = {}
    for top in sorted({name.partition(".")[0] for name in names} - PRESENT):
        module = sys.modules[top]
        source = getattr(module, "__file__", None)
        folders = [Path(folder) for folder in getattr(module, "__path__", ())]
        if source is not None and not folders and Path(source).suffix == ".py":
            files[f"{top}.py"] = Path(source)
        elif len(folders) == 1 and folders[0].is_dir():
            files |= {f"{top}/{name}": path for name, path in code_of_folder(folders[0]).items()}
        else:
            raise ConfigurationError(
                f"module {top} has no source folder that could be uploaded. Name the folder of the code with the key "
                "deployment.code"
            )
    return files


def _visible(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "__pycache__" or path.suffix == ".pyc":
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _visible(path)
        elif path.is_file():
            yield path


def _ignored(folder: Path) -> Callable[[str], bool]:
    try:
        lines = (folder / IGNORE_NAME).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return lambda name: False
    import pathspec

    ignored = pathspec.GitIgnoreSpec.from_lines(lines)
    return lambda name: bool(ignored.match_file(name))


# ---------------------------------------------------------------- upload


def changes_of(files: Mapping[str, Path], store: ResultStore, sub_path: str) -> CodeChanges:
    """
    What :func:`upload` would do.

    A file counts as the same when its hash is that of the last upload and its size in the block is right.

    Raises:
        ResultStoreError: The block cannot be read.
    """
    listed = _read_list(store, sub_path)
    present = store.files(sub_path) if listed else {}
    uploaded = [
        name
        for name, path in files.items()
        if listed.get(name) != _hash(path.read_bytes()) or present.get(name) != path.stat().st_size
    ]
    return CodeChanges(tuple(uploaded), tuple(sorted(listed.keys() - files.keys())))


def upload(files: Mapping[str, Path], store: ResultStore, sub_path: str) -> CodeChanges:
    """
    Make the folder of a deployment hold *files*. May be repeated; only what has changed is transferred.

    A flow run that pulls meanwhile waits until all files are there. An upload that was broken off is made up for by the
    next one.

    Args:
        files: From :func:`code_of_folder` or :func:`code_of_modules`.
        store: Of the block.
        sub_path: The folder. Files in it that no upload brought stay.

    Raises:
        ResultStoreError: The block cannot be read or written.
    """
    changes = changes_of(files, store, sub_path)
    if not changes:
        return changes
    hashes = _read_list(store, sub_path)
    for name in changes.removed:
        del hashes[name]
    _write_list(store, sub_path, hashes | dict.fromkeys(changes.uploaded, _UNDER_WAY))
    for name in changes.uploaded:
        data = files[name].read_bytes()
        store.put(f"{sub_path}/{name}", data)
        # of the bytes that were sent, whatever happens to the file meanwhile
        hashes[name] = _hash(data)
    for name in changes.removed:
        store.delete(f"{sub_path}/{name}")
    _write_list(store, sub_path, hashes)
    return changes


def _write_list(store: ResultStore, sub_path: str, hashes: Mapping[str, str]) -> None:
    store.put(f"{sub_path}/{LIST_NAME}", json.dumps({"files": dict(sorted(hashes.items()))}, indent=1).encode())


def _read_list(store: ResultStore, sub_path: str) -> dict[str, str]:
    try:
        listed: dict[str, str] = json.loads(store.get(f"{sub_path}/{LIST_NAME}"))["files"]
    except ResultNotAvailableError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{sub_path}/{LIST_NAME} in {store.url} is no list of files. Remove it, and deploy again."
        ) from error
    return {name: hash_ for name, hash_ in listed.items() if is_inside(name)}


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- pull


def pull_from_block(block: str, sub_path: str) -> dict[str, str]:
    """
    Copy the code of a deployment into a fresh folder: a pull step of Prefect, which then makes that the working
    directory.

    Prefect's own step copies a whole block, and empties the place where it copies it to. The folder is made in the
    working directory, which a process worker removes after the flow run and its hooks, as a container goes with its
    own. It cannot be removed here: the flow run gets another process.

    Args:
        block: ``<slug>/<name>``.
        sub_path: The folder of the deployment in the block.

    Returns:
        ``directory``: the folder.

    Raises:
        ConfigurationError: There is no such block, or no code in it.
        CodeChangedError: The code kept changing.
        ResultStoreError: The block cannot be read.
    """
    # the engine imports Prefect, which ``deploy`` does without
    from pygeoapi_prefect.process.storage_blocks import read_block

    store = read_block(block, "processor.prefect.deployment.storage_block").store
    workspace = Path.cwd()
    is_writable = os.access(workspace, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix="pygeoapi-code-", dir=workspace if is_writable else None))
    pull(store, sub_path, folder)
    return {"directory": str(folder)}


def pull(store: ResultStore, sub_path: str, folder: Path) -> None:
    """
    Copy the code of a deployment, all of one upload.

    Args:
        store: Of the block.
        sub_path: The folder of the deployment in the block.
        folder: An empty one.

    Raises:
        ConfigurationError: There is no code.
        CodeChangedError: The code kept changing.
        ResultStoreError: The block cannot be read.
    """
    for attempt in range(1, PULL_ATTEMPTS + 1):
        try:
            return _pull_once(store, sub_path, folder)
        except CodeChangedError:
            if attempt == PULL_ATTEMPTS:
                raise
            time.sleep(PULL_PAUSE_SECONDS)
    return None


def _pull_once(store: ResultStore, sub_path: str, folder: Path) -> None:
    listed = _read_list(store, sub_path)
    if not listed:
        raise ConfigurationError(
            f"There is no code in {sub_path} of {store.url}. Run `pygeoapi plugins prefect deploy`."
        )
    for name, hash_ in listed.items():
        try:
            data = store.get(f"{sub_path}/{name}")
        except ResultNotAvailableError:
            data = b""
        if _hash(data) != hash_:
            raise CodeChangedError(
                f"{sub_path}/{name} in {store.url} is not what was uploaded. Run `pygeoapi plugins prefect deploy`."
            )
        target = folder / PurePosixPath(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
