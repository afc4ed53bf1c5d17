"""The bill of materials lists what is installed, with licenses."""

import sys
from pathlib import Path

import numpy as np
import pytest

from motionrt.bench import sbom
from motionrt.runtime.bundles.bundle import bundled


def test_packages_and_models_are_listed_with_their_licenses() -> None:
    packages = sbom.packages_of("numpy") | sbom.packages_of("typer") | sbom.packages_of("pytest")
    found = sbom.bill(packages)
    parts = {part["name"]: part for part in found["components"]}
    assert found["bomFormat"] == "CycloneDX" and {"numpy", "typer", "rich", *bundled()} <= set(parts)
    assert parts["numpy"]["purl"] == f"pkg:pypi/numpy@{np.__version__}"
    licenses = {name: part["licenses"][0]["license"]["name"] for name, part in parts.items()}
    assert "BSD" in licenses["numpy"] and "MIT" in licenses["typer"] and sbom.UNKNOWN not in licenses.values()


def test_tools_of_developers_are_not_part_of_it() -> None:
    package = type("Package", (), {"requires": ['a>=1; extra == "dev"', 'b; extra == "files"', "c"]})
    assert list(sbom._required(package, extras=True)) == ["b", "c"]  # type: ignore[arg-type]
    assert list(sbom._required(package, extras=False)) == ["c"]  # type: ignore[arg-type]


def test_licenses_are_printed_as_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sbom, "NAME", "numpy")
    monkeypatch.setattr(sys, "argv", ["sbom", "--licenses"])
    sbom.main()
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == set(bundled())
    monkeypatch.setattr(sys, "argv", ["sbom", "-o", str(tmp_path / "sbom.json")])
    sbom.main()
    assert '"CycloneDX"' in (tmp_path / "sbom.json").read_text()
