"""doctor, models, fetch and push: describe this installation, get the models that it lacks, and publish others."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ..bundles.bundle import Bundle, bundled
from ..bundles.hub import push
from ..bundles.schema import GenerationManifest, Manifest, RecognitionManifest, ZeroShotManifest
from ..doctor import doctor
from ..errors import BundleError, InputError
from ..io.pose_files import fetch_models
from .license import print_license_notice


def show_doctor(as_json: bool) -> None:
    report = doctor()
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    for name, text in {**report["versions"], **report["machine"]}.items():
        typer.echo(f"{name:15} {text}")
    _show_problem("core", report["core"])
    for group in ("backends", "extras", "models"):
        typer.echo(f"{group}:" if report[group] else f"{group}: none")
        for name, problem in report[group].items():
            _show_problem(f"  {name}", problem)


def show_models(as_json: bool, name: str | None = None) -> None:
    manifest = None if name is None else Bundle.load(name, Manifest).manifest
    rows = [_describe(model) for model in (bundled() if name is None else [name])]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        typer.echo("this installation has no bundled models")
        return
    console = Console(highlight=False, soft_wrap=True)
    table = Table("model", "task", "knows", "skeleton", "MB", box=None, pad_edge=False)
    for row in rows:
        if "error" in row:
            table.add_row(row["name"], "damaged")
            continue
        knows = f"{row['labels']} labels" if "labels" in row else ""
        knows += " or any text" if row["task"] == ZeroShotManifest.task else ""
        knows += f"{len(row['actions'])} actions" if "actions" in row else ""
        skeleton = f"{row['layout']} at {row['fps']:g} Hz" if "fps" in row else ""
        table.add_row(row["name"], row["task"], knows, skeleton, f"{row['megabytes']:.1f}")
    console.print(table)
    console.print("\nlicenses")
    for row in rows:
        console.print(Text(f"  {row['name']}: {row.get('license') or row['error']}"))
    console.print()
    if manifest is None:
        console.print("To list the labels or actions of a model: motionrt models NAME")
    else:
        _show_names(manifest, console)


def run_fetch(models: str, package: Path | None) -> None:
    if models != "pose":
        raise InputError(f"unknown models {models!r}, expected pose")
    typer.echo(f"{fetch_models(package)}: MediaPipe's pose models, Apache-2.0, by the MediaPipe Authors")


def run_push(name: str, to: str, private: bool) -> None:
    bundle = Bundle.load(name, Manifest)
    typer.echo(push(bundle.path, bundle.manifest, to, private=private))
    print_license_notice(bundle)


def _show_names(manifest: Manifest, console: Console) -> None:
    """Print a model's labels, or its actions with the number of training clips of each capture quality."""
    if isinstance(manifest, GenerationManifest):
        table = Table("action", *manifest.qualities, box=None, pad_edge=False)
        for action, clips in manifest.actions.items():
            table.add_row(action, *(str(clips.get(quality, "")) for quality in manifest.qualities))
        console.print(table)
        return
    labels = manifest.matching.labels if isinstance(manifest, ZeroShotManifest) else getattr(manifest, "labels", ())
    if reliability := getattr(manifest, "reliability", {}):
        table = Table("label", Column("left out, %", justify="right"), "in the sets", box=None, pad_edge=False)
        for label in labels:
            known = reliability.get(label)
            accuracy = "" if known is None or known.loso is None else f"{known.loso:.0f}"
            table.add_row(Text(label), accuracy, Text(", ".join(known.sets) if known else ""))
        console.print(table)
        console.print("\nleft out: accuracy on data sets that were left out of the training")
        return
    for label in labels:
        console.print(Text(label))


def _describe(name: str) -> dict[str, Any]:
    try:
        bundle = Bundle.load(name, Manifest)
    except BundleError as error:
        return {"name": name, "error": str(error)}
    manifest = bundle.manifest
    specific: dict[str, Any] = {}
    if isinstance(manifest, RecognitionManifest):
        specific = {"layout": manifest.layout, "fps": manifest.fps, "labels": len(manifest.labels)}
        if manifest.reliability:
            specific["reliability"] = {label: asdict(known) for label, known in manifest.reliability.items()}
    if isinstance(manifest, ZeroShotManifest):
        specific["labels"] = len(manifest.matching.labels)
    if isinstance(manifest, GenerationManifest):
        specific = {"layout": manifest.layout, "fps": manifest.fps, "actions": manifest.actions}
    return {
        "name": name,
        "task": manifest.task,
        "license": manifest.license,
        **specific,
        "megabytes": sum(entry.size for entry in manifest.files.values()) / 1e6,
        "sha256": bundle.sha256,
    }


def _show_problem(name: str, problem: str | None) -> None:
    typer.echo(f"{name:15} {'ok' if problem is None else problem}")
