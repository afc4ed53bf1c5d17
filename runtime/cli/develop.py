"""Commands that use packages outside the runtime: train, eval, export, import, bench."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import typer

from ..backends.factory import pick
from ..backends.tensorrt_cache import check_precision
from ..bundles.bundle import Bundle
from ..bundles.schema import Manifest
from ..errors import InputError, MissingExtra, install_hint
from .license import print_license_notice
from .options import RecognizeOptions
from .report_table import report_lines

_PACKAGE = __name__.split(".")[0]


def run_train(recipe: str, overrides: Sequence[str]) -> None:
    settings = _settings(overrides)
    with _requires("train"):
        from ...training.recipes import train
    train(recipe, settings)


def run_eval(benchmark: str, as_json: bool, **options: Any) -> None:
    from ...bench.accuracy import registry

    extra = registry.find(benchmark).kind.extra
    with nullcontext() if extra is None else _requires(extra):
        report = registry.evaluate(benchmark, registry.Options(**options))
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False, allow_nan=False))
    else:
        for line in report_lines(report, get_terminal_size((100, 24)).columns):
            typer.echo(line)


def list_benchmarks(as_json: bool) -> None:
    from ...bench.accuracy.registry import BENCHMARKS, KINDS

    if as_json:
        rows = [
            {"name": b.name, "about": b.about, "model": b.kind.model, "data": b.data.source if b.data else None}
            for b in BENCHMARKS
        ]
        typer.echo(json.dumps({"benchmarks": rows}, ensure_ascii=False))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for kind in KINDS:
        extra = f"; needs the extra {kind.extra}" if kind.extra else ""
        title = f"{kind.title} (model: {kind.model}{extra})"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("benchmark", no_wrap=True)
        table.add_column("measures")
        table.add_column("data")
        for benchmark in BENCHMARKS:
            if benchmark.kind is kind:
                table.add_row(benchmark.name, benchmark.about, benchmark.data.name if benchmark.data else "none")
        console.print(table)
    typer.echo("Our data sets: folders of NAME.npz with NAME.json. Without data, a benchmark says where to get them.")


def run_export(runs: Sequence[Path], out: Path | None, tensorrt: bool, precision: str) -> None:
    if tensorrt:
        pick("tensorrt")
        check_precision(precision)
    elif out is None:
        raise InputError("expected --out BUNDLE to write, or --tensorrt to build the engines of a bundle")
    if out is not None:
        export_bundle(runs, out)
    elif len(runs) > 1:
        raise InputError(f"{len(runs)} models, expected one to build the engines of")
    if tensorrt:
        with _requires("export"):
            from ...export import build_engines
        for path in build_engines(Bundle.load(str(out or runs[0]), Manifest), precision):
            typer.echo(f"wrote {path}")


def run_compile(
    models: Sequence[Path], labels: str | None, gestures: Path | None, out: Path | None, tensorrt: bool
) -> None:
    if out is None or tensorrt or len(models) > 1:
        raise InputError("--labels and --gestures need one model and --out BUNDLE, without --tensorrt")
    from ..recognition.compiled import compile_labels

    options = RecognizeOptions(model=str(models[0]), labels=labels, gestures=gestures)
    bundle = compile_labels(options.load(), out)
    print_license_notice(bundle)
    typer.echo(f"wrote {out}: {', '.join(bundle.manifest.labels)}")


def export_bundle(runs: Sequence[Path], out: Path) -> None:
    for run in runs:
        if not run.is_dir():
            raise InputError(f"{run}: not a folder, expected a training run, or a folder of CoAMD's runs")
    with _requires("export"):
        from ...export import (
            check_own,
            export_clips,
            export_coamd,
            export_matcher,
            export_run,
            export_zero_shot,
            is_clip_run,
            is_feature_run,
            is_matcher,
        )
    run = runs[0]
    for one in runs:
        check_own(one)
    if all(map(is_clip_run, runs)):
        export_clips(runs, out)
    elif len(runs) > 1:
        raise InputError(f"{len(runs)} runs, expected one, or those of CTR-GCN's streams")
    elif (run / "coamd-generator").is_dir():
        export_coamd(run, out)
    elif is_feature_run(run):
        export_matcher(run, out)
    else:
        (export_zero_shot if is_matcher(run) else export_run)(run, out)
    typer.echo(f"wrote {out}")


def run_import(kind: str, checkpoints: Sequence[Path], out: Path, **options: Any) -> None:
    with _requires("train"):
        from ...export.official import ImportOptions, import_official
    with _requires("export"):
        import_official(kind, checkpoints, out, ImportOptions(**options))
    typer.echo(f"wrote {out}")


def run_bench_recognize(
    model: str, quick: bool, data: Path | None, plot: Path | None, out: Path | None, as_json: bool
) -> None:
    if data is not None and not data.is_dir():
        raise InputError(f"{data}: not a folder, expected a folder of data sets (NAME.npz with NAME.json)")
    _check_out(out)
    from ...bench.speed import console, recognize
    from ...bench.speed.plot import check_plot

    if plot is not None:
        check_plot(plot)
    effort = recognize.quick() if quick else recognize.full()
    report = recognize.bench_recognize(model, effort, data, plot)
    _print_report(report, console.recognize_tables(report), out, as_json)


def run_bench_generate(
    model: str, quick: bool, threads: int, plot: Path | None, out: Path | None, as_json: bool
) -> None:
    _check_out(out)
    from ...bench.speed import console, generate
    from ...bench.speed.plot import check_plot

    if plot is not None:
        check_plot(plot)
    effort = generate.quick() if quick else generate.full()
    report = generate.bench_generate(model, effort, threads, plot)
    _print_report(report, console.generate_tables(report), out, as_json)


def run_bench_zero_shot(model: str, quick: bool, out: Path | None, as_json: bool) -> None:
    _check_out(out)
    from ...bench.speed import console, zero_shot

    report = zero_shot.bench_zero_shot(model, zero_shot.quick() if quick else zero_shot.full())
    _print_report(report, console.zero_shot_tables(report), out, as_json)


def run_bench_soak(model: str, frames: int, out: Path | None, as_json: bool) -> None:
    _check_out(out)
    from ...bench.speed import console
    from ...bench.speed.soak import soak

    report = soak(model, frames)
    _print_report(report, console.soak_tables(report), out, as_json)


def _check_out(out: Path | None) -> None:
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise InputError(f"{out}: expected a file in an existing folder")


def _print_report(report: dict[str, Any], tables: Iterator[Any], out: Path | None, as_json: bool) -> None:
    """Print a report as JSON or as tables, and optionally write it to a file."""
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
def _requires(extra: str) -> Iterator[None]:
    """Turn a missing package into one line that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = error.name or str(error)
        if module.split(".")[0] == _PACKAGE:
            raise InputError(f"{module} is missing from this installation") from error
        raise MissingExtra(f"{module} is not installed: {install_hint(extra)}") from error


def _settings(overrides: Sequence[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not key or not equals:
            raise InputError(f"{override!r}: expected KEY=VALUE")
        settings[key] = value
    return settings
