"""Packages of this installation as a bill of materials: `python -m motionrt.bench.sbom [--licenses] [-o sbom.json]`.

CycloneDX 1.5: motionrt, the packages that it and its extras use, as far as they are installed, and its models, each
with its license.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from ..runtime.bundles.bundle import Bundle, bundled
from ..runtime.bundles.schema import Manifest

NAME = "motionrt"
UNKNOWN = "unknown"
_EXTRA = re.compile(r"extra\s*==\s*.(\w+)")
_TOOLS = ("dev", "docs")  # extras that are not part of the product


def bill(packages: dict[str, Distribution] | None = None) -> dict[str, Any]:
    """The bill as a JSON object. `packages`: by name; default: those installed."""
    found = packages_of(NAME) if packages is None else packages
    own = found.pop(NAME, None)
    version = "0" if own is None else own.version
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": _component("application", NAME, version, "Apache-2.0")},
        "components": [
            *(
                _component("library", name, one.version, license_of(one)) | {"purl": f"pkg:pypi/{name}@{one.version}"}
                for name, one in sorted(found.items())
            ),
            *(_model(name) for name in bundled()),
        ],
    }


def packages_of(name: str) -> dict[str, Distribution]:
    """A package and all installed packages that it can use, by normalized name."""
    found: dict[str, Distribution] = {}
    waiting = [name]
    while waiting:
        one = _normal(waiting.pop())
        if one in found:
            continue
        try:
            found[one] = distribution(one)
        except PackageNotFoundError:  # of an extra or another platform
            continue
        waiting += _required(found[one], extras=one == name)
    return found


def license_of(package: Distribution) -> str:
    """License of a package, as its metadata say."""
    about = package.metadata
    classified = [line.split(" :: ")[-1] for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    expression, text = ((about.get_all(name) or [""])[0] for name in ("License-Expression", "License"))
    return (expression or ", ".join(classified) or text.split("\n")[0]).strip()[:100] or UNKNOWN


def _required(package: Distribution, extras: bool) -> Iterator[str]:
    for requirement in package.requires or []:
        extra = _EXTRA.search(requirement)
        if extra is None or (extras and extra[1] not in _TOOLS):
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            if match is not None:
                yield match[0]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _model(name: str) -> dict[str, Any]:
    bundle = Bundle.load(name, Manifest)
    hashes = [{"alg": "SHA-256", "content": bundle.sha256}]
    return _component("machine-learning-model", name, bundle.sha256[:12], bundle.manifest.license) | {"hashes": hashes}


def _component(kind: str, name: str, version: str, license_: str) -> dict[str, Any]:
    return {"type": kind, "name": name, "version": version, "licenses": [{"license": {"name": license_}}]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--licenses", action="store_true", help="print names, versions and licenses instead")
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    found = bill()
    text = json.dumps(found, indent=1)
    if options.licenses:
        rows = [(one["name"], one["version"], one["licenses"][0]["license"]["name"]) for one in found["components"]]
        text = "\n".join(f"{name:28} {version:14} {license_}" for name, version, license_ in rows)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
