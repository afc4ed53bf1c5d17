"""doctor and models: what is here."""

import json
from typing import Any

import typer

from ..bundle import Bundle, bundled
from ..doctor import doctor
from ..errors import BundleError
from ..manifest import GenerationManifest, Manifest, RecognitionManifest, ZeroShotManifest


def show_doctor(as_json: bool) -> None:
    report = doctor()
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    for name, text in {**report["versions"], **report["machine"]}.items():
        typer.echo(f"{name:12} {text}")
    _show_problem("core", report["core"])
    for group in ("backends", "extras", "models"):
        typer.echo(f"{group}:" if report[group] else f"{group}: none")
        for name, problem in report[group].items():
            _show_problem(f"  {name}", problem)


def show_models(as_json: bool) -> None:
    rows = [_describe(name) for name in bundled()]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        typer.echo("no models are bundled with this installation")
    for row in rows:
        if "error" in row:
            typer.echo(f"{row['name']}: {row['error']}")
            continue
        what = [row["task"]]
        what += [f"{len(row['actions'])} actions"] if "actions" in row else []
        more = " or any texts" if row["task"] == ZeroShotManifest.task else ""
        what += [f"{row['labels']} labels{more}"] if "labels" in row else []
        what += [f"{row['layout']} at {row['fps']:g} Hz"] if "fps" in row else []
        typer.echo(f"{row['name']}: {', '.join(what)}, {row['megabytes']:.1f} MB\n  licence: {row['license']}")
        if "actions" in row:
            known = (f"{action} {sum(of.values())}" for action, of in row["actions"].items())
            typer.echo(f"  clips of each action: {', '.join(known)}")


def _describe(name: str) -> dict[str, Any]:
    try:
        bundle = Bundle.load(name, Manifest)
    except BundleError as error:
        return {"name": name, "error": str(error)}
    manifest = bundle.manifest
    specific: dict[str, Any] = {}
    if isinstance(manifest, RecognitionManifest):
        specific = {"layout": manifest.layout, "fps": manifest.fps, "labels": len(manifest.labels)}
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
    typer.echo(f"{name:12} {'ok' if problem is None else problem}")
