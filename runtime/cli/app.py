"""Commands, their arguments and their help; what they do is in the modules beside this one."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="motionrt",
    help="Skeletons in, actions out; text in, motion out: in real time, on one CPU core.",
    epilog="Exit status: 0; 2 for input or usage to mend; 1 otherwise. --debug shows tracebacks.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[str, typer.Option(help="Name of a bundled model, or path of a bundle.")]
Backend = Annotated[str, typer.Option(help="auto, native, onnx, tensorrt or cuda.")]
Precision = Annotated[str, typer.Option(help="Native engine: fp32 or bf16; TensorRT: fp16, too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
LastLine = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]


def _layout(name: str | None) -> str | None:
    """A layout's name, or the file of one, which is made known."""
    if name is None or not name.endswith(".json"):
        return name
    from ..body.layout import Layout

    return Layout.read(name).name


LayoutName = Annotated[
    str | None,
    typer.Option(
        callback=_layout, help="Skeleton of the source, where it does not say: a name, or a file of your own (.json)."
    ),
]
Fps = Annotated[float | None, typer.Option(help="Frames a second, where the source does not say.")]
Scale = Annotated[float | None, typer.Option(help="Metres per unit of the source (BVH).")]
Pose = Annotated[str, typer.Option(help="Pose estimator for video: mediapipe or rtmlib.")]
Token = Annotated[
    str | None, typer.Option(envvar="MOTIONRT_TOKEN", help="What senders to udp:// and ws:// must present.")
]
Labels = Annotated[
    str | None,
    typer.Option(help='What to recognise: "wave,jump"; zero-shot models. A label alone competes with none only.'),
]
Gestures = Annotated[Path | None, typer.Option(help="What `enroll` wrote; zero-shot models.")]

GeneratorName = Annotated[str, typer.Option("--model", help="Name of a bundled generator, or path of a bundle.")]
_MOTION_FILE = typer.Option("--out", "-o", help="The motion: .npz .bvh .glb .gif .mp4.")
Seed = Annotated[int, typer.Option(help="Another seed, another motion.")]
Cfg = Annotated[float | None, typer.Option(help="Weight of the description; else the model's own.")]
Guidance = Annotated[float, typer.Option(help="Step along the recogniser's gradient; 0: none.")]
Quality = Annotated[str, typer.Option(help="Of capture: mocap or kinect.")]
Products = Annotated[
    str, typer.Option("--precision", help="Of products: fp32 or int8, the faster; fp16 or bf16 on a GPU.")
]
GraphBackend = Annotated[str, typer.Option("--backend", help="auto, onnx, tensorrt or cuda.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]

bench = typer.Typer(help="Measure speed and memory.", context_settings={"help_option_names": ["-h", "--help"]})
app.add_typer(bench, name="bench", no_args_is_help=True)
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write the JSON object to this file, too.")]


def _print_version(value: bool) -> None:
    if value:
        from ... import __version__

        typer.echo(f"motionrt {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def motionrt(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what works here, and why the rest does not."""
    from .info import show_doctor

    show_doctor(as_json)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Only this one, and its labels or actions.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the bundled models with their licences."""
    from .info import show_models

    show_models(as_json, name)


@app.command()
def recognize(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="0 (webcam), a video, .npz .npy .bvh .skeleton .jsonl, - (JSON lines), rtsp:// udp:// ws://…",
        ),
    ],
    model: Model = "live",
    layout: LayoutName = None,
    fps: Fps = None,
    scale: Scale = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a decision, and a summary.")] = False,
    realtime: Annotated[bool, typer.Option("--realtime", help="Play recordings at their own speed.")] = False,
    pose: Pose = "mediapipe",
    overlay: Annotated[Path | None, typer.Option(help="Write an .mp4 with skeletons and labels.")] = None,
    backend: Backend = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; the native engine uses one.")] = 1,
    precision: Precision = "fp32",
    token: Token = None,
    labels: Labels = None,
    gestures: Gestures = None,
    view: Annotated[bool, typer.Option("--view", help="Show it in the browser, as `motionrt view`.")] = False,
) -> None:
    """Recognise actions in recordings, a video or a live stream."""
    from .recognize import Options, run

    options = Options(
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
        precision=precision,
        token=token,
        labels=labels,
        gestures=gestures,
    )
    if view:
        from .view import run_view

        run_view(sources, options)
    else:
        run(sources, options)


@app.command("view")
def view_page(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help="As for recognize; without one, the recordings that ship."),
    ] = None,
    model: Annotated[str, typer.Option(help="Recogniser: name of a bundled model, or path of a bundle.")] = "zero-shot",
    labels: Labels = None,
    gestures: Gestures = None,
    generator: Annotated[str, typer.Option(help="Name of a bundled generator, or path of a bundle.")] = "default",
    host: Annotated[str, typer.Option(help="A loopback address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The first that is free from this one on.")] = 8080,
    loop: Annotated[bool, typer.Option(help="Play recordings again and again.")] = True,
    layout: LayoutName = None,
    fps: Fps = None,
    scale: Scale = None,
    pose: Pose = "mediapipe",
    backend: Backend = "auto",
    token: Token = None,
) -> None:
    """Show live skeletons and what they do, beside motion made from text, in the browser."""
    from .recognize import Options
    from .view import run_view

    options = Options(
        model=model,
        layout=layout,
        fps=fps,
        scale=scale,
        pose=pose,
        backend=backend,
        token=token,
        labels=labels,
        gestures=gestures,
    )
    run_view(sources or [], options, generator, host, port, loop)


@app.command()
def enroll(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="1 to 10 recordings, or one file.")],
    label: Annotated[str, typer.Option("--as", help="What is done in them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Gestures; one that is there is added to.")] = Path(
        "gestures.npz"
    ),
    model: Annotated[str, typer.Option(help="Name of a zero-shot model, or path of its bundle.")] = "zero-shot",
    layout: LayoutName = None,
) -> None:
    """Learn a label from a few recordings, for `recognize --gestures`."""
    from .enroll import run_enroll

    run_enroll(folder, label, out, model, layout)


@app.command()
def record(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="As for recognize: 0 (webcam), a video, rtsp://, udp://, ws://, …")
    ],
    label: Annotated[str, typer.Option("--label", "-l", help="What is done in it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; an .npz a person goes into it.")],
    seconds: Annotated[
        float | None, typer.Option(min=0.1, max=600, help="Stop after so many; else with Ctrl-C or after ten minutes.")
    ] = None,
    layout: LayoutName = None,
    fps: Fps = None,
    scale: Scale = None,
    pose: Pose = "mediapipe",
    token: Token = None,
) -> None:
    """Record the skeletons of a source as labelled motion files."""
    from .record import Options, run

    run(
        source,
        Options(label=label, out=out, seconds=seconds, layout=layout, fps=fps, scale=scale, pose=pose, token=token),
    )


@app.command()
def generate(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What somebody does.")],
    out: Annotated[Path | None, _MOTION_FILE] = None,
    seconds: Annotated[
        float | None, typer.Option(help="How long, at most 60; else as long as such motions are.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Frames as JSON lines when due; lines of standard input are new prompts.")
    ] = False,
    model: GeneratorName = "default",
    seed: Seed = 0,
    cfg: Cfg = None,
    guidance: Guidance = 0.0,
    quality: Quality = "mocap",
    threads: Threads = 1,
    precision: Products = "fp32",
    backend: GraphBackend = "auto",
) -> None:
    """Make a motion from a description."""
    from .generate import Options, run_generate

    options = Options(
        model=model,
        seed=seed,
        cfg=cfg,
        guidance=guidance,
        quality=quality,
        threads=threads,
        precision=precision,
        backend=backend,
    )
    run_generate(text, seconds, out, stream, options)


@app.command()
def edit(
    path: Annotated[Path, typer.Argument(metavar="IN", help="A motion of 22 joints at 20 frames a second.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What somebody does in it.")],
    regenerate: Annotated[str, typer.Option(metavar="BEGIN:END", help="What to make anew, in seconds: 2.0:4.0.")],
    out: Annotated[Path, _MOTION_FILE],
    model: GeneratorName = "default",
    seed: Seed = 0,
    cfg: Cfg = None,
    guidance: Guidance = 0.0,
    quality: Quality = "mocap",
    threads: Threads = 1,
    precision: Products = "fp32",
    backend: GraphBackend = "auto",
) -> None:
    """Make a part of a motion anew; the rest stays as it is."""
    from .generate import Options, run_edit

    options = Options(
        model=model,
        seed=seed,
        cfg=cfg,
        guidance=guidance,
        quality=quality,
        threads=threads,
        precision=precision,
        backend=backend,
    )
    run_edit(path, text, regenerate, out, options)


@app.command()
def search(
    query: Annotated[
        str, typer.Argument(metavar="TEXT", help="What somebody does, or a motion file: what is like it is found.")
    ],
    library: Annotated[Path, typer.Option(help="Folder of motion files; a hidden index file goes into it.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many to show.")] = 5,
    model: GeneratorName = "default",
    threads: Threads = 1,
    backend: GraphBackend = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Find the motions of a folder that fit a description."""
    from .search import run_search

    run_search(query, library, k, model, threads, backend, as_json)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; all but loopback ones need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    model: Model = "live",
    generator: Annotated[str, typer.Option(help="Name of a bundled generator, or path of a bundle.")] = "default",
    labels: Labels = None,
    token: Annotated[str | None, typer.Option(hidden=True, envvar="MOTIONRT_TOKEN")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with what clients must present; else MOTIONRT_TOKEN.")
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Web pages that may connect besides its own; repeatable.")
    ] = None,
    clients: Annotated[int, typer.Option(min=1, help="WebSockets at once, of each replica.")] = 32,
    replicas: Annotated[
        str | None, typer.Option(metavar="N|N-M", help="Servers behind one address, as many as are needed; by Ray.")
    ] = None,
) -> None:
    """Serve recognition and generation over HTTP and WebSockets."""
    from .serve import run_serve

    run_serve(host, port, model, generator, labels, token, token_file, origin or [], clients, replicas)


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
    benchmark: Annotated[
        str | None, typer.Argument(help="Name of a benchmark, for example live or nw-ucla; without it, lists all.")
    ] = None,
    model: Model = "live",
    data: Annotated[Path | None, typer.Option(help="Folder of data sets (NAME.npz, NAME.json).")] = None,
    backend: Backend = "auto",
    precision: Precision = "fp32",
    list_all: Annotated[bool, typer.Option("--list", help="List the benchmarks.")] = False,
    as_json: LastLine = False,
) -> None:
    """Measure a model's accuracy on a benchmark, or list the benchmarks."""
    from .develop import list_benchmarks, run_eval

    if benchmark is None or list_all:
        list_benchmarks()
        return
    run_eval(benchmark, model, data, backend, precision, as_json)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run; without --out a model's name or bundle.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Bundle to write.")] = None,
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Build TensorRT engines for this machine's GPU, into your cache.")
    ] = False,
    precision: Annotated[str, typer.Option(help="Of these engines: fp32, fp16 or bf16.")] = "fp32",
) -> None:
    """Export a training run as a bundle, or build the TensorRT engines of one."""
    from .develop import run_export

    run_export(run, out, tensorrt, precision)


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(metavar="{ae,coamd,mar,tdsm,ctrgcn}", help="Which network.")],
    checkpoint: Annotated[Path, typer.Argument(help="Official checkpoint: .tar, .pt (ctrgcn) or .safetensors (tdsm).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write, like that of a training run.")],
) -> None:
    """Read an official checkpoint."""
    from .develop import run_import

    run_import(kind, checkpoint, out)


@bench.command("recognize")
def bench_recognize(
    model: Model = "live",
    quick: Annotated[bool, typer.Option("--quick", help="Under half a minute, without what needs torch.")] = False,
    data: Annotated[Path | None, typer.Option(help="Data sets that take part in the parity check.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw how the cost of a frame grows, .png or .svg.")] = None,
    out: Out = None,
    as_json: LastLine = False,
) -> None:
    """Measure the latency of a recogniser, once it has been found to compute what its ONNX graphs compute."""
    from .develop import run_bench_recognize

    run_bench_recognize(model, quick, data, plot, out, as_json)


@bench.command("generate")
def bench_generate(
    model: GeneratorName = "default",
    quick: Annotated[bool, typer.Option("--quick", help="Under 40 seconds, not beside torch.")] = False,
    threads: Threads = 1,
    plot: Annotated[Path | None, typer.Option(help="Draw how the cost of a motion grows, .png or .svg.")] = None,
    out: Out = None,
    as_json: LastLine = False,
) -> None:
    """Measure how long a motion takes, once it has been found to be the one that the networks make in torch."""
    from .develop import run_bench_generate

    run_bench_generate(model, quick, threads, plot, out, as_json)


@bench.command("zero-shot")
def bench_zero_shot(
    model: Model = "zero-shot",
    quick: Annotated[bool, typer.Option("--quick", help="Under half a minute.")] = False,
    out: Out = None,
    as_json: LastLine = False,
) -> None:
    """Measure a zero-shot recogniser whose labels change while it runs, once its thread has been found to be right."""
    from .develop import run_bench_zero_shot

    run_bench_zero_shot(model, quick, out, as_json)


@bench.command("soak")
def bench_soak(
    model: Model = "live",
    frames: Annotated[int, typer.Option(help="Frames to step through; 108,000 are an hour at 30 Hz.")] = 108_000,
    out: Out = None,
    as_json: LastLine = False,
) -> None:
    """Step through hours of frames: does memory grow, does latency?"""
    from .develop import run_bench_soak

    run_bench_soak(model, frames, out, as_json)
