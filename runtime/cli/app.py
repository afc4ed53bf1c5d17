"""Commands with their arguments and help; the modules next to this one implement them."""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    MOTION_FILE,
    AlarmsPerMinute,
    AsJson,
    Backend,
    FileOptions,
    GenerateOptions,
    GeneratorName,
    GraphBackend,
    JsonFile,
    JsonLine,
    Labels,
    Precision,
    RecognizeOptions,
    RecognizeOutputs,
    RecognizerName,
    SendTo,
    ServedBackend,
    ServedGenerator,
    SourceOptions,
    Threads,
    Token,
    ViewOptions,
    WrittenOptions,
    expand,
)

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="motionrt",
    help="Skeletons in, actions out; text in, motion out: in real time, on one CPU core.",
    epilog="Exit status: 0 on success; 2 for invalid input or usage; 1 for other errors. --debug shows tracebacks.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=HELP_OPTIONS,
)
bench = typer.Typer(help="Measure speed and memory.", context_settings=HELP_OPTIONS)
app.add_typer(bench, name="bench", no_args_is_help=True)


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
    """Show what works on this machine, and why the rest does not."""
    from .info import show_doctor

    show_doctor(as_json)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Show only this model, with its labels or actions.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the bundled models and their licenses."""
    from .info import show_models

    show_models(as_json, name)


@app.command()
def fetch(
    models: Annotated[str, typer.Argument(metavar="pose", help="Which models: pose, for webcams and videos.")],
    package: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="MediaPipe's npm package (.tgz); default: download it.")
    ] = None,
) -> None:
    """Fetch MediaPipe's pose models (Apache-2.0, 41 MB), of which hashes are checked, from the npm registry."""
    from .info import run_fetch

    run_fetch(models, package)


@app.command()
def push(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Path of a bundle, or name of a bundled model.")],
    to: Annotated[str, typer.Argument(metavar="hf://ORG/NAME", help="Repository on the Hugging Face Hub.")],
    private: Annotated[bool, typer.Option("--private", help="If the repository is new, only you can see it.")] = False,
) -> None:
    """Upload a model to the Hugging Face Hub, with the token of HF_TOKEN or `hf auth login`."""
    from .info import run_push

    run_push(bundle, to, private)


@app.command()
@expand
def recognize(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="0 (webcam), a video, a folder of images or videos, a motion file (.npz .bvh .glb .csv …), "
            "- (JSON lines), rtsp:// udp:// ws://…; for a tdsm, features (.npy)",
        ),
    ],
    options: RecognizeOptions,
    outputs: RecognizeOutputs,
    view: Annotated[bool, typer.Option("--view", help="Show it in the browser, like `motionrt view`.")] = False,
) -> None:
    """Recognize actions in recordings, a video or a live stream."""
    if view:
        from ..errors import InputError
        from .view import run_view

        if outputs.as_json or outputs.overlay or outputs.srt or outputs.csv or outputs.publish:
            others = "--json, --overlay, --srt, --csv or --publish"
            raise InputError(f"--view shows a page and cannot be combined with {others}")
        run_view(sources, options)
    else:
        from .recognize import run_recognize

        run_recognize(sources, options, outputs)


@app.command("view")
@expand
def view_page(
    options: ViewOptions,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help="As for recognize; default: the bundled recordings."),
    ] = None,
    generator: ServedGenerator = "default",
    host: Annotated[str, typer.Option(help="A loopback address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="First port to try.")] = 8080,
    loop: Annotated[bool, typer.Option(help="Play recordings in a loop.")] = True,
    robot: Annotated[
        str | None, typer.Option(help="Also show a robot that follows the first person: g1, or a robot file (.json).")
    ] = None,
) -> None:
    """Show live skeletons, their recognized actions and generated motion in the browser."""
    from .view import run_view

    run_view(sources or [], options, generator, host, port, loop, robot)


@app.command()
@expand
def enroll(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Folder of recordings, or one file: of each label, best five or more of 2 to 10 s, by several people.",
        ),
    ],
    options: FileOptions,
    label: Annotated[
        str | None,
        typer.Option(
            "--as", help="Label of all recordings; default: that of each, from `record`. none: of no gesture."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File of gestures; the examples are added to an existing file.")
    ] = Path("gestures.npz"),
    model: Annotated[str, typer.Option(help="Name of a zero-shot model, or path of its bundle.")] = "zero-shot",
) -> None:
    """Learn labels from a few recordings, for `recognize --gestures`."""
    from .enroll import run_enroll

    run_enroll(folder, label, out, model, options)


@app.command()
@expand
def record(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="As for recognize: 0 (webcam), a video, rtsp://, udp://, ws://, …")
    ],
    options: SourceOptions,
    label: Annotated[str, typer.Option("--label", "-l", help="Label of the recording.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; receives one .npz per person.")],
    subject: Annotated[str | None, typer.Option(help="Who is recorded; training validates on other people.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, max=600, help="Duration; default: until Ctrl-C, at most ten minutes.")
    ] = None,
) -> None:
    """Record the skeletons of a source as labeled motion files."""
    from .record import run_record

    run_record(source, label, subject, out, seconds, options)


@app.command()
@expand
def generate(
    options: GenerateOptions,
    written: WrittenOptions,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="Description of the motion.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="File with a description per line, instead of TEXT; -o a.npz writes a-0.npz, a-1.npz, ..."),
    ] = None,
    out: Annotated[Path | None, MOTION_FILE] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Duration, at most 60; default: typical of such motions.")
    ] = None,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Print frames as JSON lines in real time; lines on stdin are new prompts."),
    ] = False,
    robot: Annotated[
        str | None, typer.Option(help="Stream references of a robot at 50 Hz instead: g1, or a robot file (.json).")
    ] = None,
    to: SendTo = None,
    timeline: Annotated[
        str | None, typer.Option(help='What happens when, in seconds, instead of TEXT: "0-2 walks; 2-4 waves".')
    ] = None,
    split: Annotated[
        bool, typer.Option("--split/--no-split", help="Generate actions joined by then, and or while one by one.")
    ] = True,
    best_of: Annotated[
        int, typer.Option(help="Number of motions of which the one most like its description is written.")
    ] = 1,
    path: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Table of x and z in meters: where to go, to the last point."),
    ] = None,
    keyframes: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help='Joints to reach, by frame: {"40": {"right_wrist": [0.3, 1.2, 0.4]}}.'),
    ] = None,
) -> None:
    """Generate a motion from a description, or several from a file of them."""
    from ..errors import InputError
    from .generate import run_generate, run_generate_batch, run_generate_for_robot

    if timeline is not None and (text, prompts, robot, stream) != (None, None, None, False):
        raise InputError("--timeline goes with none of TEXT, --prompts, --robot and --stream")
    if best_of != 1 and (stream or robot is not None):
        raise InputError("--best-of is for a motion file, not for --stream and --robot")
    if (path, keyframes) != (None, None) and (stream or robot is not None or prompts is not None):
        raise InputError("--path and --keyframes are for one TEXT or --timeline, not --stream, --robot and --prompts")
    if robot is not None or to:
        if written != WrittenOptions():
            raise InputError("--rig, --loop and --in-place are for a motion file, not for a robot")
        run_generate_for_robot(text, prompts, seconds, out, stream, robot, to or [], options)
    elif prompts is None:
        run_generate(text, seconds, out, stream, timeline, split, best_of, path, keyframes, options, written)
    else:
        run_generate_batch(text, prompts, seconds, out, stream, split, best_of, options, written)


@app.command()
@expand
def edit(
    path: Annotated[Path, typer.Argument(metavar="IN", help="A motion of 22 joints at 20 frames per second.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Description of the new part.")],
    options: GenerateOptions,
    file: FileOptions,
    written: WrittenOptions,
    regenerate: Annotated[str, typer.Option(metavar="BEGIN:END", help="Part to replace, in seconds: 2.0:4.0.")],
    out: Annotated[Path, MOTION_FILE],
    parts: Annotated[
        str | None,
        typer.Option(help="Parts of the body to replace: arms, left_arm, right_arm, upper_body; with commas between."),
    ] = None,
) -> None:
    """Regenerate a part of a motion; the rest is unchanged."""
    from .generate import run_edit

    run_edit(path, text, regenerate, out, parts, options, file, written)


@app.command()
@expand
def retarget(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="As for recognize: a motion file, 0 (webcam), udp://, ws://, -, …")
    ],
    options: SourceOptions,
    robot: Annotated[str, typer.Option(help="Name of a built-in robot (g1), or a robot file (.json).")] = "g1",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write: .npz .csv .jsonl .gif .mp4.")] = None,
    to: SendTo = None,
    person: Annotated[int, typer.Option(min=0, help="Number of the person in a file of several.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Make a robot follow a motion: joint angles and the pose of its base; of a live source in real time, at 50 Hz."""
    from .retarget import run_retarget

    run_retarget(source, robot, out, to or [], person, as_json, options)


@app.command()
@expand
def search(
    query: Annotated[str, typer.Argument(metavar="TEXT", help="Description of a motion, or a similar motion file.")],
    library: Annotated[Path, typer.Option(help="Folder of motion files; a hidden index file is stored in it.")],
    options: FileOptions,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of results.")] = 5,
    model: GeneratorName = "default",
    threads: Threads = 1,
    backend: GraphBackend = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Find the motions in a folder that match a description."""
    from .search import run_search

    run_search(query, library, k, model, threads, backend, as_json, options)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback requires a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 8765,
    model: RecognizerName = "live",
    generator: ServedGenerator = "default",
    backend: ServedBackend = "auto",
    labels: Labels = None,
    alarms_per_minute: AlarmsPerMinute = None,
    token: Token = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token of the clients; default: MOTIONRT_TOKEN.")
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Other web page that may connect; repeatable.")
    ] = None,
    proxy: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Reverse proxy that names its clients; repeatable.")
    ] = None,
    access_log: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Append a line for each request and WebSocket to a file.")
    ] = None,
    clients: Annotated[int, typer.Option(min=1, help="Maximum WebSocket connections per replica.")] = 32,
    replicas: Annotated[
        str | None,
        typer.Option(metavar="N|N-M", help="Number of servers behind one address, scaled with the load; uses Ray."),
    ] = None,
) -> None:
    """Serve recognition and generation over HTTP and WebSockets."""
    from .serve import run_serve

    run_serve(
        host,
        port,
        model,
        generator,
        backend,
        labels,
        alarms_per_minute,
        token,
        token_file,
        origin or [],
        proxy or [],
        access_log,
        clients,
        replicas,
    )


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, such as live.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings.")] = None,
) -> None:
    """Train a model."""
    from .develop import run_train

    run_train(recipe, overrides or [])


@app.command("eval")
def evaluate(
    benchmark: Annotated[
        str | None, typer.Argument(help="Name of a benchmark, such as live or nw-ucla; default: list all.")
    ] = None,
    model: RecognizerName = "live",
    data: Annotated[Path | None, typer.Option(help="Folder of datasets (NAME.npz, NAME.json).")] = None,
    backend: Backend = "auto",
    precision: Precision = "fp32",
    scores: Annotated[
        Path | None, typer.Option(help="File to write with each clip's score of each label, .npz; NTU and Kinetics.")
    ] = None,
    evaluator: Annotated[
        Path | None, typer.Option(help="Evaluator of generated motion: run of coamd-evaluator, or imported.")
    ] = None,
    guidance: Annotated[float, typer.Option(help="Of a generator: step along the recognizer's gradient; 0: off.")] = 0,
    list_all: Annotated[bool, typer.Option("--list", help="List the benchmarks.")] = False,
    as_json: JsonLine = False,
) -> None:
    """Measure a model's accuracy on a benchmark, or list the benchmarks."""
    from .develop import list_benchmarks, run_eval

    if benchmark is None or list_all:
        list_benchmarks(as_json)
        return
    options = {"model": model, "data": data, "backend": backend, "precision": precision, "scores": scores}
    run_eval(benchmark, as_json, **options, evaluator=evaluator, guidance=guidance)


@app.command()
def export(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folder of a training run, or those of CTR-GCN's streams; without --out, a model name or a bundle.",
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Bundle to write.")] = None,
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Build TensorRT engines for this machine's GPU and cache them.")
    ] = False,
    precision: Annotated[str, typer.Option(help="Precision of the engines: fp32, fp16 or bf16.")] = "fp32",
    labels: Annotated[
        str | None, typer.Option(help='Compile labels, "wave,high five", into a bundle of a zero-shot model, for C.')
    ] = None,
    gestures: Annotated[Path | None, typer.Option(help="Compile gestures written by `enroll`, too.")] = None,
) -> None:
    """Export a training run as a bundle, compile labels into one, or build the TensorRT engines of one."""
    from .develop import run_compile, run_export

    if labels is None and gestures is None:
        run_export(runs, out, tensorrt, precision)
    else:
        run_compile(runs, labels, gestures, out, tensorrt)


@app.command("import")
def import_(
    kind: Annotated[
        str, typer.Argument(metavar="{ae,coamd,mar,tdsm,ctrgcn,clip,evaluator}", help="Network of the checkpoint.")
    ],
    checkpoints: Annotated[
        list[Path],
        typer.Argument(
            metavar="CHECKPOINT...",
            help="Official checkpoint: .tar, .pt (ctrgcn) or .safetensors (tdsm); for a bundle of coamd those of ae, "
            "coamd and mar, for one of ctrgcn those of joints, bones and the motion of both.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write: a bundle, or a training run.")],
    labels: Annotated[Path | None, typer.Option(help="Names of the classes of ctrgcn or tdsm, one a line.")] = None,
    mean: Annotated[Path | None, typer.Option(help="Mean of the joints' coordinates, .npy.")] = None,
    std: Annotated[Path | None, typer.Option(help="Their standard deviation, .npy.")] = None,
    text: Annotated[
        str | None,
        typer.Option(
            help="Text encoder: clip:PATH, weights or a bundle; an evaluator's words: glove:FOLDER; a tdsm's texts: "
            "features:FOLDER."
        ),
    ] = None,
    objective: Annotated[str | None, typer.Option(help="Of a generator: flow or ddpm; default: found out.")] = None,
) -> None:
    """Import official checkpoints."""
    from .develop import run_import

    run_import(kind, checkpoints, out, labels=labels, mean=mean, std=std, text=text, objective=objective)


@bench.command("recognize")
def bench_recognize(
    model: RecognizerName = "live",
    quick: Annotated[bool, typer.Option("--quick", help="Under half a minute; skips what needs torch.")] = False,
    data: Annotated[Path | None, typer.Option(help="Datasets for the parity check.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Plot the cost per frame, .png or .svg.")] = None,
    out: JsonFile = None,
    as_json: JsonLine = False,
) -> None:
    """Check a recognizer against its ONNX graphs, then measure its latency."""
    from .develop import run_bench_recognize

    run_bench_recognize(model, quick, data, plot, out, as_json)


@bench.command("generate")
def bench_generate(
    model: GeneratorName = "default",
    quick: Annotated[bool, typer.Option("--quick", help="Under 40 seconds; without the comparison to torch.")] = False,
    threads: Threads = 1,
    plot: Annotated[Path | None, typer.Option(help="Plot the cost per motion, .png or .svg.")] = None,
    out: JsonFile = None,
    as_json: JsonLine = False,
) -> None:
    """Check a generator against torch, then measure its speed."""
    from .develop import run_bench_generate

    run_bench_generate(model, quick, threads, plot, out, as_json)


@bench.command("zero-shot")
def bench_zero_shot(
    model: RecognizerName = "zero-shot",
    quick: Annotated[bool, typer.Option("--quick", help="Under half a minute.")] = False,
    out: JsonFile = None,
    as_json: JsonLine = False,
) -> None:
    """Check a zero-shot recognizer, then measure its speed while its labels change."""
    from .develop import run_bench_zero_shot

    run_bench_zero_shot(model, quick, out, as_json)


@bench.command("soak")
def bench_soak(
    model: RecognizerName = "live",
    frames: Annotated[int, typer.Option(help="Number of frames; 108,000 are one hour at 30 Hz.")] = 108_000,
    out: JsonFile = None,
    as_json: JsonLine = False,
) -> None:
    """Run for hours of frames and watch memory and latency."""
    from .develop import run_bench_soak

    run_bench_soak(model, frames, out, as_json)
