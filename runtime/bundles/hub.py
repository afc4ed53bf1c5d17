"""Bundles on the Hugging Face Hub, `hf://ORG/NAME[@REVISION]`: a bundle's files are those of a model repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import BundleError, InputError
from ..extras import require
from .schema import MANIFEST, MAX_MANIFEST_BYTES, Manifest, parse_manifest
from .strict_json import load_object

SCHEME = "hf://"
NAME = re.compile(r"hf://(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?", re.ASCII)
CARD = "MODEL_CARD.md"
TIMEOUT_S = 10.0
LICENSES = {"apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"}  # of the Hub
KINDS = {"generation": ("text-to-3d", "text-to-motion"), "text": ("feature-extraction", "text-encoder")}
RECOGNIZER = ("video-classification", "action-recognition")  # kind and tag of all other tasks


def fetch(name: str) -> Path:
    """Folder of a bundle on the Hub, in the cache of `huggingface_hub`; what is there already needs no network.

    Only the files in the manifest are fetched, once their sizes are as it says; whoever opens them checks their hashes.

    Raises:
        BundleError: a wrong name, no such repository or revision, no access to it, or files that are no bundle.
        InputError: the Hub cannot be reached, and the bundle is not in the cache.
        MissingExtra: huggingface_hub is not installed.
    """
    found = _parse(name)
    hub = _hub()
    with _errors(name):
        sizes, problem = _sizes(hub, found["repository"], found["revision"])

        def get(file: str, revision: str | None, expected: int | None = None) -> Path:
            size = sizes.get(file)
            if size is not None and (size > MAX_MANIFEST_BYTES if expected is None else size != expected):
                limit = f"expected at most {MAX_MANIFEST_BYTES}" if expected is None else f"{MANIFEST} says {expected}"
                raise BundleError(f"{name}: {file} has {size} bytes, {limit}")
            try:
                return Path(
                    hub.hf_hub_download(
                        found["repository"], file, revision=revision, local_files_only=problem is not None
                    )
                )
            except hub.errors.LocalEntryNotFoundError as error:
                why = problem or _line(error)
                raise InputError(f"{name}: {file} is not in the cache, and the Hub cannot be reached ({why})") from None

        path = get(MANIFEST, found["revision"])
        where = f"{name}: {MANIFEST}"
        manifest = parse_manifest(load_object(path.read_bytes(), where), where)
        for file, entry in manifest.files.items():
            get(file, path.parent.name, entry.size)
    return path.parent


def push(folder: Path, manifest: Manifest, name: str, *, private: bool = False) -> str:
    """Upload a verified bundle with a model card of the Hub; returns the address of the commit.

    Args:
        name: hf://ORG/NAME; the repository is made if it does not exist.
        private: of a repository that is made.
    Raises:
        BundleError: a wrong name, or no permission to write there.
        InputError: the Hub cannot be reached.
        MissingExtra: huggingface_hub is not installed.
    """
    found = _parse(name)
    hub = _hub()
    if found["revision"] is not None:
        raise BundleError(f"{name}: expected {SCHEME}ORG/NAME without a revision")
    files: dict[str, Path | bytes] = {file: folder / file for file in (MANIFEST, *manifest.files)}
    files["README.md"] = card(folder, manifest).encode()
    with _errors(name):
        api = hub.HfApi()
        api.create_repo(found["repository"], private=private, exist_ok=True)
        commit = api.create_commit(
            found["repository"],
            [hub.CommitOperationAdd(path_in_repo=file, path_or_fileobj=data) for file, data in files.items()],
            commit_message=f"{manifest.name} of motionrt",
        )
    return str(commit.commit_url)


def card(folder: Path, manifest: Manifest) -> str:
    """The README.md of a repository: the bundle's card below the metadata by which the Hub lists models."""
    kind, tag = KINDS.get(manifest.task, RECOGNIZER)
    spdx = manifest.license.lower().replace(" ", "-")
    terms = {"license": spdx} if spdx in LICENSES else {"license": "other", "license_name": manifest.license}
    about = _hub().ModelCardData(
        **terms, library_name="motionrt", pipeline_tag=kind, tags=[tag, "skeleton", "human-motion", "onnx"]
    )
    text = (folder / CARD).read_text(encoding="utf-8") if CARD in manifest.files else f"# {manifest.name}\n"
    return f"---\n{about.to_yaml()}\n---\n\n{text}"


def _hub() -> Any:
    hub = require("huggingface_hub", "hub", f"{SCHEME} models")
    require("huggingface_hub.errors", "hub")
    return hub


def _parse(name: str) -> re.Match[str]:
    found = NAME.fullmatch(name)
    if found is None or ".." in name:
        raise BundleError(f"{name}: expected {SCHEME}ORG/NAME or {SCHEME}ORG/NAME@REVISION")
    return found


def _sizes(hub: Any, repository: str, revision: str | None) -> tuple[dict[str, int], str | None]:
    """Bytes of each file of a revision; why the Hub cannot be reached, else None."""
    try:
        about = hub.HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
    except hub.errors.HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise
        return {}, _line(error)
    except (hub.errors.HTTPError, OSError) as error:
        return {}, _line(error)
    return {one.rfilename: one.size for one in about.siblings}, None


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """Turn errors of huggingface_hub into one line."""
    hub = _hub()
    errors = hub.errors
    try:
        yield
    except InputError:
        raise
    except errors.GatedRepoError:
        raise BundleError(f"{name}: its terms must be accepted on its page first, and {_login(hub)}") from None
    except errors.RepositoryNotFoundError:
        raise BundleError(f"{name}: no such repository, or it is private and {_login(hub)}") from None
    except errors.RevisionNotFoundError:
        raise BundleError(f"{name}: the repository has no such revision") from None
    except errors.RemoteEntryNotFoundError as error:
        file = str(error.response.url).rpartition("/")[2]
        raise BundleError(f"{name}: {file} is missing, expected the files of a bundle") from None
    except errors.HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise BundleError(f"{name}: not allowed, {_login(hub)}") from None
        raise InputError(f"{name}: the Hub answered {_line(error)}") from None
    except (errors.HTTPError, OSError) as error:
        raise InputError(f"{name}: the Hub cannot be reached ({_line(error)})") from None


def _login(hub: Any) -> str:
    if hub.get_token() is None:
        return "there is no token: set HF_TOKEN, or log in with hf auth login"
    return "the token does not give access: HF_TOKEN, or that of hf auth login"


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
