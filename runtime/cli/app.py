"""Commands, their arguments and their help; what they do is in the modules beside this one."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="motionrt",
    help="Skeletons in, actions out: in real time, on one CPU core.",
    epilog="Exit status: 0; 2 for input or usage to mend; 1 otherwise. --debug shows tracebacks.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[str, typer.Option(help="Name of a bundled model, or path of a bundle.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.callback(invoke_without_command=True)
def motionrt(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what works here, and why the rest does not."""
    from .info import show_doctor

    show_doctor(as_json)


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the bundled models with their licences."""
    from .info import show_models

    show_models(as_json)


@app.command()
def recognize(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="0 (webcam), a video, .npz .npy .bvh .skeleton .jsonl, - (JSON lines on stdin), rtsp://…",
        ),
    ],
    model: Model = "live",
    layout: Annotated[str | None, typer.Option(help="Skeleton of the source, where it does not say.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second, where the source does not say.")] = None,
    scale: Annotated[float | None, typer.Option(help="Metres per unit of the source (BVH).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a decision, and a summary.")] = False,
    realtime: Annotated[bool, typer.Option("--realtime", help="Play recordings at their own speed.")] = False,
    pose: Annotated[str, typer.Option(help="Pose estimator for video: mediapipe or rtmlib.")] = "mediapipe",
    overlay: Annotated[Path | None, typer.Option(help="Write an .mp4 with skeletons and labels.")] = None,
    backend: Annotated[str, typer.Option(help="auto, native, onnx, tensorrt or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Recognise actions in recordings, a video or a live stream."""
    from .recognize import Options, run

    run(
        sources,
        Options(
            model=model,
            layout=layout,
            fps=fps,
            scale=scale,
            as_json=as_json,
            realtime=realtime,
            pose=pose,
            overlay=overlay,
            backend=backend,
            threads=threads,
        ),
    )


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, for example live.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings.")] = None,
) -> None:
    """Train a model."""
    from .develop import run_train

    run_train(recipe, overrides or [])


@app.command("eval")
def evaluate(
    benchmark: Annotated[str, typer.Argument(help="Name of a benchmark, for example live or nw-ucla.")],
    model: Model = "live",
    data: Annotated[Path | None, typer.Option(help="Folder of data sets (NAME.npz, NAME.json).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Measure a model on a benchmark."""
    from .develop import run_eval

    run_eval(benchmark, model, data, as_json)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Bundle to write.")],
) -> None:
    """Export a training run as a bundle."""
    from .develop import run_export

    run_export(run, out)
