"""train, eval, export and bench: handed to the packages that do them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from ..backends import pick
from ..backends.tensorrt_cache import check_precision
from ..bundles.bundle import Bundle
from ..bundles.schema import Manifest
from ..errors import InputError, MissingExtra, install_hint

_PACKAGE = __name__.split(".")[0]


def run_train(recipe: str, overrides: Sequence[str]) -> None:
    settings = _settings(overrides)
    with _needs("train"):
        from ...training.recipes import train
    train(recipe, settings)


def run_eval(benchmark: str, model: str, data: Path | None, backend: str, precision: str, as_json: bool) -> None:
    from ...bench.accuracy import closed_loop as generated
    from ...bench.accuracy.motion import BENCHMARKS, check

    if benchmark in generated.BENCHMARKS:
        _print(generated.evaluate(benchmark, model), as_json)
        return

    if benchmark in BENCHMARKS:
        check(benchmark, data)
        with _needs("train"):
            from ...bench.accuracy.coamd import evaluate as evaluate_coamd
        _print(evaluate_coamd(benchmark, model, data), as_json)
        return
    if data is None:
        raise InputError("eval needs --data DIR, a folder of data sets (NAME.npz with NAME.json)")
    if not data.is_dir():
        raise InputError(f"{data}: not a folder, expected one of data sets (NAME.npz with NAME.json)")
    from ...bench.accuracy.recognition import evaluate

    _print(evaluate(benchmark, model, data, backend, precision), as_json)


def _print(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False, allow_nan=False))
    else:
        _show(report)


def run_export(run: Path, out: Path | None, tensorrt: bool, precision: str) -> None:
    if tensorrt:
        pick("tensorrt")
        check_precision(precision)
    elif out is None:
        raise InputError("expected --out BUNDLE to write, or --tensorrt for the engines of a bundle that is there")
    if out is not None:
        export_bundle(run, out)
    if tensorrt:
        with _needs("export"):
            from ...export import build_engines
        for path in build_engines(Bundle.load(str(out or run), Manifest), precision):
            typer.echo(f"wrote {path}")


def export_bundle(run: Path, out: Path) -> None:
    if not run.is_dir():
        raise InputError(f"{run}: not a folder, expected a training run, or CoAMD's runs")
    with _needs("export"):
        from ...export import export_coamd, export_run, export_zero_shot, is_matcher
    if (run / "coamd-generator").is_dir():
        export_coamd(run, out)
    else:
        (export_zero_shot if is_matcher(run) else export_run)(run, out)
    typer.echo(f"wrote {out}")


def run_import(kind: str, checkpoint: Path, out: Path) -> None:
    with _needs("train"):
        from ...export.official import import_official
    import_official(kind, checkpoint, out)
    typer.echo(f"wrote {out}")


def run_bench_recognize(
    model: str, quick: bool, data: Path | None, plot: Path | None, out: Path | None, as_json: bool
) -> None:
    if data is not None and not data.is_dir():
        raise InputError(f"{data}: not a folder, expected one of data sets (NAME.npz with NAME.json)")
    _check_out(out)
    from ...bench.speed import plot as pictures
    from ...bench.speed import recognize, show

    if plot is not None:
        pictures.check_plot(plot)
    effort = recognize.quick() if quick else recognize.full()
    report = recognize.bench_recognize(model, effort, data, plot)
    _tell(report, show.recognize_tables(report), out, as_json)


def run_bench_generate(
    model: str, quick: bool, threads: int, plot: Path | None, out: Path | None, as_json: bool
) -> None:
    _check_out(out)
    from ...bench.speed import generate, show
    from ...bench.speed import plot as pictures

    if plot is not None:
        pictures.check_plot(plot)
    effort = generate.quick() if quick else generate.full()
    report = generate.bench_generate(model, effort, threads, plot)
    _tell(report, show.generate_tables(report), out, as_json)


def run_bench_zero_shot(model: str, quick: bool, out: Path | None, as_json: bool) -> None:
    _check_out(out)
    from ...bench.speed import show, zero_shot

    report = zero_shot.bench_zero_shot(model, zero_shot.quick() if quick else zero_shot.full())
    _tell(report, show.zero_shot_tables(report), out, as_json)


def run_bench_soak(model: str, frames: int, out: Path | None, as_json: bool) -> None:
    _check_out(out)
    from ...bench.speed import show
    from ...bench.speed.soak import soak

    report = soak(model, frames)
    _tell(report, show.soak_tables(report), out, as_json)


def _check_out(out: Path | None) -> None:
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise InputError(f"{out}: expected a file in a folder that is there")


def _tell(report: dict[str, Any], tables: Iterator[Any], out: Path | None, as_json: bool) -> None:
    """The report as JSON or as tables; besides, as a file."""
    if out is not None:
        out.write_text(json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False, allow_nan=False))
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for table in tables:
        console.print(table)


@contextmanager
def _needs(extra: str) -> Iterator[None]:
    """Turns a missing package into one line that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = error.name or str(error)
        if module.split(".")[0] == _PACKAGE:
            raise InputError(f"this installation has no {module}") from error
        raise MissingExtra(f"{module} is not installed: {install_hint(extra)}") from error


def _settings(overrides: Sequence[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not key or not equals:
            raise InputError(f"{override!r}: expected KEY=VALUE")
        settings[key] = value
    return settings


def _show(report: dict[str, Any], indent: str = "") -> None:
    for key, value in report.items():
        if isinstance(value, dict):
            typer.echo(f"{indent}{key}")
            _show(value, indent + "  ")
        else:
            typer.echo(f"{indent}{key}: {f'{value:.4g}' if isinstance(value, float) else value}")
