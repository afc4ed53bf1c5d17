"""Rows of the tables of measurements, as templates over the JSON files in bench/results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Derived = Mapping[str, Callable[[Any], Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """A measurement.

    Attributes:
        what: template of the first cell.
        measured: template of the second cell.
        files: result files; with several, paths start with the name of one, as in `{live.top1}`.
        derived: further fields, computed from the JSON object.
        each: repeat the row for these (key, item) pairs; fields `{key}` and `{item...}`.
    """

    what: str
    measured: str
    files: str | tuple[str, ...]
    derived: Derived = field(default_factory=dict)
    each: Callable[[Any], Iterable[tuple[str, Any]]] | None = None


# ---- derived values


def latency_ratio(name: str) -> Callable[[Any], str]:
    """Latency of a baseline as a multiple of `Recognizer.step`."""

    def ratio(report: Any) -> str:
        times = report["baselines"][name]["times_recognizer_step"]
        return f"{times:.{0 if times >= 20 else 1}f}"

    return ratio


def side_by_side(split: str) -> Derived:
    """Scores of generated motion and, in parentheses, of real motion."""
    formats = {
        "r_precision_1": "{:.1f} %",
        "r_precision_3": "{:.1f} %",
        "fid_pca": "{:.3f}",
        "diversity": "{:.2f}",
        "jitter": "{:.0f} m/s³",
        "foot_skating": "{:.1f} %",
        "bone_length_drift": "{:.1f} %",
        "nearest_training_piece_mm": "{:.0f} mm",
    }

    def compare(name: str) -> Callable[[Any], str]:
        def text(report: Any) -> str:
            generated, real = (report[split][side][name]["mean"] for side in ("generated", "real"))
            return f"{formats[name].format(generated)} (real {formats[name].format(real)})"

        return text

    return {name: compare(name) for name in formats}


def best_guidance(report: Any) -> Any:
    return max(report["rows"], key=lambda row: row["difference"]["r_precision_1"]["low"])


def recalls(direction: str) -> Derived:
    def recall(name: str) -> Callable[[Any], str]:
        def text(report: Any) -> str:
            scores = report[name][direction]["all_tolerant"]
            return " / ".join(f"{scores[f'R@{k}']['mean']:.1f}" for k in (1, 3, 10))

        return text

    return {f"{name}_recall": recall(name) for name in ("model", "bag_of_joints", "chance")}


def interval(score: Any) -> str:
    return f"{score['mean']:.1f} % [{score['low']:.1f}, {score['high']:.1f}]"


def attempt_rows(results: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Settings of each attempt, and its scores."""
    for attempt in results["attempts"]:
        settings = ", ".join(f"`{name}={value}`" for name, value in attempt["settings"].items())
        scores = ", ".join(f"{name} {score:.1f} %" for name, score in attempt["macro_top1"].items())
        seeds = len(attempt["seeds"])
        yield f" with {settings}" if settings else "", {"scores": f"{scores} ({seeds} seed{'s' * (seeds > 1)})"}


ZERO_SHOT_MATCHER = "sentences and attributes"  # the one of the bundle


def zero_shot_interval(method: str, sentences: str = "everything") -> Derived:
    return {"interval": lambda report: interval(report["methods"][method]["zsl"][sentences])}


def one_per_minute(report: Any) -> Any:
    return next(row for row in report["cross_fitted"] if row["per_minute"] == 1)


def onsets_by_set(report: Any) -> Iterable[tuple[str, Any]]:
    for name, item in report["sets"].items():
        if item["clips"]:
            share = item["unknown_with_onset"]
            unknown = "" if share is None else f"; {share:.0f} % of {item['unknown_clips']} unknown actions have one"
            yield name, {**item, "unknown": unknown}


def mean_over_seeds(report: Any) -> float:
    top1 = [seed["without_copies"]["top1"] for seed in report["seeds"]]
    return sum(top1) / len(top1)


def shipped_labels_match(report: Any) -> Any:
    return next(row for row in report["match"] if row["labels"] == report["set_labels"]["labels"])


def stream_title(name: str) -> str:
    return name.replace("_", " ").replace("+", " + ")


# ---- the tables

MEASURED = [
    Row(
        "recognize one frame, one CPU thread",
        "p50 **{step.p50_ms:.3f} ms**, p99 {step.p99_ms:.3f} ms",
        "recognize.json",
    ),
    Row(
        "generate {seconds:g} s of motion, one CPU thread",
        "**{clip_ms:.0f} ms**, {real_time_factor:.0f} times real time",
        "generate.json",
    ),
    Row(
        "first second of a motion stream",
        "**{first_chunk_ms:.0f} ms**, p99 {first_chunk.p99_ms:.0f} ms",
        "generate.json",
    ),
    Row(
        "accuracy of `live`, mean over labels: on data sets, sensors and people that it never saw",
        "**{leave_one_set_out.macro_top1:.0f} %**; {live.own_sets.macro_top1:.0f} % on new people of its own data sets",
        ("leave_one_set_out.json", "live.json"),
    ),
    Row(
        "server, {clients} streams at {rate_hz:.0f} Hz for {minutes:.0f} minutes on two cores",
        "p99 **{steady.server.p99_ms:.1f} ms**, {steady.lost} of {steady.frames:,} replies lost",
        "serve.json",
        {"minutes": lambda r: r["seconds"] / 60},
    ),
]

SERVING = [
    Row(
        "{clients} streams at {rate_hz:.0f} Hz for {minutes:.0f} minutes, clients on the same two cores: "
        "{steady.frames:,} frames",
        "**{steady.lost} replies lost, {steady.wrong} wrong**, {steady.reported_dropped} reported as dropped; latency "
        "in "
        "the server p50 {steady.server.p50_ms:.2f} ms, p99 **{steady.server.p99_ms:.1f} ms**; memory "
        "+{steady.growth_mb:.1f} MB",
        "serve.json",
        {"minutes": lambda r: r["seconds"] / 60},
    ),
    Row(
        "… while {busy} more processes take the CPUs, for {seconds:.0f} s, load average {environment.load_average:.0f}",
        "**{lost} lost, {wrong} wrong**, {dropped:.0f} % of {frames:,} frames reported as dropped",
        "serve_busy.json",
        {"dropped": lambda r: 100 * r["reported_dropped"] / r["frames"]},
    ),
    Row(
        "{overload.times_capacity:.1f} times the server's capacity of {capacity_hz:,.0f} frames per second, for "
        "{overload.seconds:.0f} s",
        "stays up; {overload.flooders.lost} replies lost, {overload.flooders.reported_dropped:,} of "
        "{overload.flooders.sent:,} frames reported as dropped; p99 {overload.after.server.p99_ms:.1f} ms one second "
        "later",
        "serve.json",
    ),
    Row(
        "… streams at camera rate during that overload",
        "{overload.camera_clients.lost} lost, {overload.camera_clients.wrong} wrong, {dropped:.0f} % reported as "
        "dropped; "
        "p99 {overload.camera_clients.server.p99_ms:.0f} ms",
        "serve.json",
        {
            "dropped": lambda r: (
                100 * r["overload"]["camera_clients"]["reported_dropped"] / r["overload"]["camera_clients"]["frames"]
            )
        },
    ),
    Row(
        "{n:,} real clips through the checks of units, axes, joint order, sides and times",
        "**{clips_with_alarm}** false alarms, of people who lie on the floor",
        "input_checks.json",
    ),
    Row(
        "{inputs:,} damaged inputs to {count} parsers in {minutes:.0f} minutes",
        "**{found}** crashes, hangs or multi-line messages; slowest input {slowest:.2f} s, peak memory {peak_mb:.0f} "
        "MB",
        "fuzz.json",
        {
            "inputs": lambda r: sum(parser["inputs"] for parser in r["parsers"].values()),
            "count": lambda r: len(r["parsers"]),
            "minutes": lambda r: r["seconds"] / 60,
            "found": lambda r: len(r["findings"]),
            "slowest": lambda r: max(parser["slowest_s"] for parser in r["parsers"].values()),
        },
    ),
    Row(
        "{graphs:,} graphs of bundles damaged in their meaning, each opened and run in a child",
        "**{found}** signals, hangs, or cases of more than 1 GB; {ran:,} ran, the others were refused; peak memory "
        "{peak_mb} MB",
        "fuzz_graphs.json",
        {"found": lambda r: len(r["findings"]), "ran": lambda r: r["outcomes"]["ran"]},
    ),
    Row(
        "a stream at {rate_hz:.0f} Hz beside {count} attacks on its server, {seconds:.0f} s each, load average "
        "{load_average:.0f}",
        "**{lost} lost, {wrong} wrong**, at most {dropped:.0f} % reported as dropped; slowest reply {slowest:.0f} ms",
        "attacks.json",
        {
            "count": lambda r: len(r["attacks"]) - 1,  # one is none
            "lost": lambda r: sum(one["lost"] for one in r["attacks"].values()),
            "wrong": lambda r: sum(one["wrong"] for one in r["attacks"].values()),
            "dropped": lambda r: max(100 * one["reported_dropped"] / one["frames"] for one in r["attacks"].values()),
            "slowest": lambda r: max(one["round_trip"]["max_ms"] for one in r["attacks"].values()),
        },
    ),
    Row(
        "{count:,} malformed conversations with the server in {minutes:g} minutes, during a stream at {rate_hz:.0f} Hz",
        "**{found}** crashes, unanswered messages or wrong labels; slowest reply to the stream "
        "{good_client.round_trip.max_ms:.0f} ms; memory {growth_mb:+.1f} MB",
        "fuzz_server.json",
        {
            "count": lambda r: sum(r["conversations"].values()),
            "minutes": lambda r: r["seconds"] / 60,
            "found": lambda r: len(r["findings"]),
        },
    ),
    Row(
        "two replicas share {clients} streams at {rate_hz:.0f} Hz, one is killed",
        "every stream gets replies again within **{killed.longest_silence_s:.2f} s**; {killed.wrong} of "
        "{killed.frames:,} labels wrong, {killed.resets} resets reported; before that, a round trip through Ray takes "
        "{killed.round_trip.p50_ms:.0f} ms",
        "replicas.json",
    ),
    Row(
        "the viewer for {minutes:.0f} minutes with one browser",
        "memory {growth_mb:+.1f} MB, open files {files:+.0f}, threads {threads:+.0f}; {frames_dropped:.0f} frames "
        "dropped, "
        "{painted_hz:.0f} images per second with software rendering",
        "view.json",
        {
            "minutes": lambda r: r["seconds"] / 60,
            "files": lambda r: r["files_end"] - r["files_start"],
            "threads": lambda r: r["threads_end"] - r["threads_start"],
        },
    ),
]

SPEED = [
    Row(
        "one frame, from sensor joints to decision",
        "p50 **{step.p50_ms:.3f} ms**, p99 {step.p99_ms:.3f} ms, {step.steps_per_s:,.0f} frames per second",
        "recognize.json",
    ),
    Row(
        "… at {paced.rate_hz:.0f} Hz, sleeping between frames",
        "p50 {paced.p50_ms:.3f} ms, p99 {paced.p99_ms:.3f} ms",
        "recognize.json",
    ),
    Row(
        "{together.people} people in one call",
        "p50 **{together.p50_ms:.3f} ms**, p99 {together.p99_ms:.3f} ms",
        "recognize.json",
    ),
    Row(
        "for comparison: numpy only reads the weights, four times",
        "p50 {baselines.only_reading.p50_ms:.3f} ms, p99 {baselines.only_reading.p99_ms:.3f} ms",
        "recognize.json",
    ),
    Row(
        "cold start: new process, import, load `live`, first decision",
        "**{cold_start.median_ms:.0f} ms**, of which {cold_start.without_interpreter_ms:.0f} ms after Python has "
        "started",
        "recognize.json",
    ),
    Row(
        "the network alone: native engine vs. its step graph in ONNX Runtime",
        "{baselines.native_network.p50_ms:.3f} ms vs. {baselines.onnx_step.p50_ms:.3f} ms: **{ratio:.1f} x**",
        "recognize.json",
        {"ratio": lambda r: r["baselines"]["onnx_step"]["p50_ms"] / r["baselines"]["native_network"]["p50_ms"]},
    ),
    Row("… with weights in bfloat16", "{baselines.native_bf16.p50_ms:.3f} ms", "recognize.json"),
    Row(
        "… vs. rerunning the whole window for every frame in ONNX Runtime",
        "{baselines.onnx_window.p50_ms:.1f} ms: **{ratio:.0f} x**",
        "recognize.json",
        {"ratio": lambda r: r["baselines"]["onnx_window"]["p50_ms"] / r["baselines"]["native_network"]["p50_ms"]},
    ),
    Row(
        "the same network stepped in PyTorch, compared with `Recognizer.step`",
        "**{ratio} x** as long",
        "recognize.json",
        {"ratio": latency_ratio("torch_step")},
    ),
    Row(
        "CTR-GCN's window (64 frames, two people) in ONNX Runtime, compared with `Recognizer.step`",
        "**{ratio} x** as long",
        "recognize.json",
        {"ratio": latency_ratio("ctr_gcn_onnx")},
    ),
    Row(
        "lower bound of a step: {mflop:.1f} MFLOP, {mb:.2f} MB",
        "{roofline.floor_ms:.3f} ms at one thread's {roofline.peak_gflops:.0f} GFLOP/s and "
        "{roofline.read_gb_per_s:.0f} GB/s; the engine reaches **{percent:.0f} %** of that speed",
        "recognize.json",
        {
            "mflop": lambda r: r["roofline"]["flops"] / 1e6,
            "mb": lambda r: (r["roofline"]["weight_bytes"] + r["roofline"]["state_bytes"]) / 1e6,
            "percent": lambda r: 100 * r["roofline"]["fraction"],
        },
    ),
    Row("largest difference of a logit from ONNX Runtime", "{parity_max_abs:.1e}", "recognize.json"),
    Row(
        "memory growth over {frames:,} frames with people coming and going",
        "{growth_mb:+.2f} MB",
        "soak.json",
    ),
    Row(
        "one frame in WebAssembly (Node.js) and by the native engine, in turns",
        "p50 **{wasm.p50_ms:.3f} ms** vs. {native.p50_ms:.3f} ms: **{ratio:.1f} x**; memory {growth_mb:+.2f} MB in "
        "{memory.frames:,} frames",
        "wasm.json",
        {"growth_mb": lambda r: (r["memory"]["after"]["wasm_bytes"] - r["memory"]["before"]["wasm_bytes"]) / 1e6},
    ),
    Row(
        "`recognize` of a video, from file to decision: {key}",
        "**{item.frames_per_second:.0f} frames per second**; pose p50 {item.pose_p50_ms:.0f} ms; "
        "{item.cpu_ms_per_frame:.0f} ms of CPU a frame, with the start; load {environment.load_average}",
        "video.json",
        each=lambda r: ((f"{one['video']}, `--pose {one['pose']}`", one) for one in r["runs"]),
    ),
    Row(
        "largest difference of a probability in WebAssembly, {parity.poses:,} poses",
        "{parity.max_abs:.1e}, {different} labels differ; in 2-D {parity_2d.max_abs:.1e}, and from the weights before "
        "rounding {parity_2d_fp32.max_abs:.1e}, {different_2d} labels differ",
        "wasm.json",
        {
            "different": lambda r: r["parity"]["poses"] - r["parity"]["same_labels"],
            "different_2d": lambda r: r["parity_2d_fp32"]["poses"] - r["parity_2d_fp32"]["same_labels"],
        },
    ),
    Row(
        "the npm package: {mb:.2f} MB, of which the code {code_mb:.2f} MB; the page with MediaPipe: {page_mb:.1f} MB",
        "first label **{page.warm_first_label_ms:.0f} ms** after opening, {page.first_label_ms:.0f} ms the first time; "
        "{page.images_hz:.0f} images per second with software rendering, on a busy machine",
        "wasm.json",
        {
            "mb": lambda r: r["bytes"]["all"] / 1e6,
            "code_mb": lambda r: r["bytes"]["motionrt.wasm"] / 1e6,
            "page_mb": lambda r: r["page"]["bytes"] / 1e6,
        },
    ),
]

ACCURACY = [
    Row(
        "`live`, {own_sets.n:,} validation clips of its own data sets, stepped",
        "macro top-1 **{own_sets.macro_top1:.1f} %** over {own_sets.macro_classes} labels, top-1 {own_sets.top1:.1f} %",
        "live.json",
    ),
    Row(
        "… with weights in bfloat16",
        "macro top-1 {own_sets.macro_top1:.1f} %, top-1 {own_sets.top1:.1f} %",
        "live_bf16.json",
    ),
    Row(
        "… of all {n:,} clips, {key}",
        "top-1 {item.top1:.1f} % of {item.n}",
        "live.json",
        each=lambda r: r["per_set"].items(),
    ),
    Row(
        "recipe `live` on ten data sets that it was not trained on, two at a time, three seeds",
        "macro top-1 **{macro_top1:.1f} %** ({by_seed}), lowest {lowest:.1f} %",
        "leave_one_set_out.json",
        {"by_seed": lambda r: ", ".join(f"{score:.1f}" for score in r["macro_top1_by_seed"])},
    ),
    Row(
        "… {key}",
        "macro top-1 {item.macro_top1:.1f} % over {item.macro_classes} labels, {item.n:,} clips",
        "leave_one_set_out.json",
        each=lambda r: r["sets"].items(),
    ),
    Row(
        "… onsets in single clips: right, only wrong ones, of unknown actions",
        "{onsets.right:.0f} %, {onsets.wrong:.0f} %, {onsets.unknown_with_onset:.0f} %",
        "leave_one_set_out.json",
    ),
    Row(
        "… in streams",
        "{streams_default.detected:.0f} % of the actions detected while they last at "
        "{streams_default.false_onsets_per_minute:.2f} false onsets per minute, {streams.detected:.0f} % at "
        "{streams.false_onsets_per_minute:.2f}",
        "leave_one_set_out.json",
    ),
    Row(
        "… actions detected in streams at one false onset per minute: {key}",
        "{item.one:.1f} %",
        "limits.json",
        each=lambda r: ((name, {"one": rates["1.0"]}) for name, rates in r["streams"]["detected"].items()),
    ),
    Row(
        "… actions whose label is the most likely one within {key} s",
        "{item.share:.0f} %",
        "limits.json",
        each=lambda r: ((s, {"share": share}) for s, share in r["streams"]["right_label_leads_within"].items()),
    ),
    Row(
        "… the average of three networks instead of one",
        "macro top-1 {clips_of_sets_left_out.averaged:.1f} instead of {clips_of_sets_left_out.alone:.1f} %; on people "
        "kept out of the other sets {clips_of_people_kept_out.averaged:.1f} instead of "
        "{clips_of_people_kept_out.alone:.1f} %",
        "limits.json",
    ),
    Row("recipe `live`{key}", "macro top-1 on {item.scores}", "attempts.json", each=attempt_rows),
    Row(
        "recipe `live-2d` on sets that it was not trained on, seen by random cameras, or real pictures (jhmdb): {key}",
        "macro top-1 {item.macro_top1:.1f} % over {item.macro_classes} labels, {item.n:,} clips",
        "leave_one_set_out_2d.json",
        each=lambda r: r["sets"].items(),
    ),
    Row(
        "recipe `live` {key}, a small network, {settings.steps} steps, two data sets left out in turn",
        "macro top-1 {item.macro_top1:.1f} %; with it {item.gain:+.1f} [{item.low:+.1f}, {item.high:+.1f}]",
        "remedies.json",
        each=lambda r: [row for row in r["variants"].items() if row[0] != "recipe"],
    ),
    Row(
        "`live` on {minutes:.0f} minutes of streams of people kept out, thresholds for {key:g} false onsets per minute",
        "**{item.detected:.0f} %** of {item.actions:,} actions detected while they last, after "
        "{item.median_s_to_onset:.1f} s, {item.false_onsets_per_minute:.2f} false onsets per minute",
        "thresholds.json",
        {"minutes": lambda r: r["cross_fitted"][0]["minutes"]},
        each=lambda r: [(row["per_minute"], row) for row in r["cross_fitted"]],
    ),
    Row(
        "… as random cameras see them (`live-2d`), for {key:g}",
        "{item.detected:.0f} %, after {item.median_s_to_onset:.1f} s, {item.false_onsets_per_minute:.2f}",
        "thresholds_2d.json",
        each=lambda r: [(row["per_minute"], row) for row in r["cross_fitted"]],
    ),
    Row(
        "… for one per minute: event F1 by the start that is given, and by the time of the report, both within 0.5 s",
        "{one.f1:.1f} %, {one.f1_when_reported:.1f} %",
        "thresholds.json",
        {"one": one_per_minute},
    ),
    Row(
        "… detection rate, false onsets per action, Jaccard index (SHREC); segmental F1 at 10, 25, 50 % overlap",
        "{one.detected:.1f} %, {false:.2f}, {one.jaccard:.1f} %; {one.segmental_f1_10:.1f}, {one.segmental_f1_25:.1f}, "
        "{one.segmental_f1_50:.1f} %",
        "thresholds.json",
        {
            "one": one_per_minute,
            "false": lambda r: (
                one_per_minute(r)["false_onsets_per_minute"]
                * one_per_minute(r)["minutes"]
                / one_per_minute(r)["actions"]
            ),
        },
    ),
    Row(
        "… *none*, per frame",
        "precision {one.none_precision:.1f} %, recall {one.none_recall:.1f} %",
        "thresholds.json",
        {"one": one_per_minute},
    ),
    Row(
        "… delay from an action's start to its first correct label, median",
        "{one.median_s_to_first_right:.2f} s, {percent:.0f} % of the action",
        "thresholds.json",
        {"one": one_per_minute, "percent": lambda r: 100 * one_per_minute(r)["median_share_to_first_right"]},
    ),
    Row(
        "`live`, onsets in single clips of people kept out, {key}",
        "right {item.right:.0f} %, only wrong ones {item.wrong:.0f} %{item.unknown}",
        "onsets.json",
        each=onsets_by_set,
    ),
    Row(
        "StreamGCN on UTD-MHAD, subjects 1, 3, 5, 7 trained, {n} clips of 2, 4, 6, 8",
        "top-1 **{top1:.1f} %**",
        "utd_mhad.json",
    ),
    Row(
        "StreamGCN on JHMDB, split 1, 2-D joints, {labels} of the 21 labels (DD-Net on all 21: 77.2 %)",
        "top-1 **{top1:.1f} %** of {n}",
        "jhmdb.json",
        {"labels": lambda r: len(r["per_class"])},
    ),
    Row(
        "`live-2d` on the labels that it has in the same clips",
        "top-1 {top1:.1f} % of {n}",
        "live_jhmdb.json",
    ),
    Row(
        "StreamGCN on NW-UCLA, {seeds.0.n} clips of view 3, {count} seeds",
        "top-1 **{top1_mean:.1f} %** ± {top1_std:.1f}",
        "nw_ucla.json",
        {"count": lambda r: len(r["top1"])},
    ),
    Row(
        "… without the {copies} clips that are copies of view 2",
        "top-1 {mean:.1f} %",
        "nw_ucla.json",
        {"copies": lambda r: r["seeds"][0]["n"] - r["seeds"][0]["without_copies"]["n"], "mean": mean_over_seeds},
    ),
    Row(
        "CTR-GCN on the same clips, {key}",
        "top-1 **{item.top1:.1f} %**, without copies {item.without_copies.top1:.1f} %",
        "ctr_gcn.json",
        each=lambda r: ((stream_title(name), scores) for name, scores in (r["streams"] | r["ensembles"]).items()),
    ),
]

ZERO_SHOT = [
    Row(
        "top-1 of labels never trained on, among {labels:.0f}, {splits} splits",
        "**{interval}**, chance {chance:.1f} %",
        "unseen.json",
        {
            "labels": lambda r: 100 / r["chance"],
            "splits": lambda r: len(r["splits"]),
            **zero_shot_interval(ZERO_SHOT_MATCHER),
        },
    ),
    Row(
        "… described by label and motion only",
        "{interval}",
        "unseen.json",
        zero_shot_interval(ZERO_SHOT_MATCHER, "label and motion"),
    ),
    Row("… described by the label only", "{interval}", "unseen.json", zero_shot_interval(ZERO_SHOT_MATCHER, "label")),
    Row(
        "… by {item.about}",
        "{item.interval}",
        "unseen.json",
        each=lambda r: (
            (name, {"about": method["about"], "interval": interval(method["zsl"]["everything"])})
            for name, method in r["methods"].items()
            if name != ZERO_SHOT_MATCHER
        ),
    ),
    Row(
        "… by {clips_of_a_label} clips that `{model}` makes of the texts",
        "{examples}; beside the texts {change.mean:+.1f} points [{change.low:+.1f}, {change.high:+.1f}]",
        "imagined.json",
        {"examples": lambda r: interval(r["examples"]), "change": lambda r: r["difference"]},
    ),
    Row(
        "… ahead of alignment by training",
        "{lead.mean:+.1f} points [{lead.low:+.1f}, {lead.high:+.1f}]",
        "unseen.json",
        {"lead": lambda r: r["ahead_of_alignment"][ZERO_SHOT_MATCHER]},
    ),
    Row(
        "… with the two settings that are best on the other splits",
        "{interval}, ahead of alignment by {lead.mean:+.1f} points [{lead.low:+.1f}, {lead.high:+.1f}]",
        "unseen.json",
        {
            "interval": lambda r: interval(r["chosen_on_other_splits"]["zsl"]),
            "lead": lambda r: r["chosen_on_other_splits"]["ahead_of_alignment"],
        },
    ),
    Row(
        "… clips of all labels among all labels",
        "seen {gzsl.seen.mean:.1f} %, unseen {gzsl.unseen.mean:.1f} %, harmonic mean **{gzsl.harmonic.mean:.1f} %**",
        "unseen.json",
        {"gzsl": lambda r: r["methods"][ZERO_SHOT_MATCHER]["gzsl"]},
    ),
    Row(
        "… with a penalty on seen labels",
        "seen {gzsl.seen.mean:.1f} %, unseen {gzsl.unseen.mean:.1f} %, harmonic mean **{gzsl.harmonic.mean:.1f} %**",
        "unseen.json",
        {"gzsl": lambda r: r["methods"][ZERO_SHOT_MATCHER]["gzsl_calibrated"]},
    ),
    Row(
        "telling actions without an offered label; offered: {key}",
        "AUROC **{item.auroc.mean:.3f}**, {item.false_acceptances.mean:.0f} % accepted where 90 % of the others are",
        "unseen.json",
        each=lambda r: r["methods"][ZERO_SHOT_MATCHER]["rejection"].items(),
    ),
    Row(
        "calibration error of the probabilities of seen labels and none, other people",
        "{probabilities.ece.mean:.3f}",
        "unseen.json",
    ),
    Row(
        "top-1 with {counts} examples per label, from other people; 95 % of draws",
        "{intervals}",
        "unseen.json",
        {
            "counts": lambda r: ", ".join(r["few_shot"]),
            "intervals": lambda r: ", ".join(interval(score) for score in r["few_shot"].values()),
        },
    ),
    Row(
        "match {match.labels} labels, one person",
        "**{match.p50_ms:.2f} ms**, four times per second, in parallel with the stream",
        "zero_shot.json",
        {"match": shipped_labels_match},
    ),
    Row(
        "`set_labels` with {set_labels.labels} labels",
        "new labels **{set_labels.cold.p50_ms:.0f} ms**, known labels {set_labels.cached.p50_ms:.1f} ms",
        "zero_shot.json",
    ),
    Row(
        "a frame at {rate_hz:.0f} Hz while labels change {streams.changing.changes} times",
        "p50 {streams.changing.p50_ms:.2f} ms (without a matcher {streams.encoder.p50_ms:.2f} ms); "
        "{streams.changing.frames_lost} frames lost, longest wait {streams.changing.waited_for_changes_ms:.2f} ms",
        "zero_shot.json",
    ),
    Row(
        "TDSM at its published size, {xl.classes} classes and {noises} noises for one clip",
        "{xl.matcher_s:.1f} s, **{xl.times_faster:.1f} x** faster than class by class",
        "tdsm.json",
    ),
    Row(
        "CoCoDiff, {item.about}, vs. the recognizer alone",
        "{item.gain.top1.mean:+.1f} points of top-1 [{item.gain.top1.low:+.1f}, {item.gain.top1.high:+.1f}], "
        "{item.cpu_ratio:.2f} x the training time",
        "cocodiff.json",
        each=lambda r: ((name, variant) for name, variant in r["variants"].items() if "gain" in variant),
    ),
    Row(
        "gestures of other people than those enrolled, {key} that the encoder was trained on, 1, 3, 5, 10 each",
        "top-1 **{item.shipped} %**, nearest prototype {item.prototypes} %",
        "enrolled.json",
        each=lambda r: (
            (
                f"{one['labels']} labels of {name}",
                {way: ", ".join(f"{score:.0f}" for score in one["top1"][way].values()) for way in one["top1"]},
            )
            for name, one in r["sets"].items()
        ),
    ),
]

MOTION = [
    *(
        row
        for split, title in (
            ("test", "of held-out takes"),
            ("pairs", "of held-out (action, style) pairs"),
            ("test_kinect", "of held-out Kinect subjects"),
        )
        for row in (
            Row(
                f"motion generated for {{{split}.counts.clips}} clips {title}",
                "R-precision at 1 **{r_precision_1}**, at 3 {r_precision_3}, FID {fid_pca}, diversity {diversity}",
                "generation.json",
                side_by_side(split),
            ),
            Row(
                "… quality of the motion itself",
                "jitter {jitter}, frames with a sliding foot {foot_skating}, bone length drift "
                "{bone_length_drift}, distance to the nearest training motion {nearest_training_piece_mm}",
                "generation.json",
                side_by_side(split),
            ),
        )
    ),
    *(
        Row(
            f"with all sets and actions, by an evaluator that knows them: {{{split}.counts.clips}} clips of {title}",
            "R-precision at 1 {r_precision_1}, at 3 **{r_precision_3}**, FID {fid_pca}",
            "generation_all.json",
            side_by_side(split),
        )
        for split, title in (("test", "motion capture"), ("test_kinect", "Kinect sensors"))
    ),
    Row(
        "guided by its own recognizer (step {best.step:g}, {which} autoregressive steps)",
        "R-precision at 1 {best.difference.r_precision_1.mean:+.1f} points "
        "[{best.difference.r_precision_1.low:+.1f}, {best.difference.r_precision_1.high:+.1f}], at most {full:+.1f} "
        "with "
        "guidance in all steps; FID {best.before.fid_pca.mean:.3f} → {best.after.fid_pca.mean:.3f}",
        "guidance.json",
        {
            "best": best_guidance,
            "which": lambda r: f"last {best_guidance(r)['last']}" if best_guidance(r)["last"] else "all",
            "full": lambda r: max(
                row["difference"]["r_precision_1"]["mean"] for row in r["rows"] if row["last"] is None
            ),
        },
    ),
    *(
        Row(
            f"retrieval by {title} among {{counts.clips}} clips, R@1 / 3 / 10",
            "**{model_recall}**, bag of joints {bag_of_joints_recall}, chance {chance_recall}",
            "retrieval.json",
            recalls(direction),
        )
        for direction, title in (("text_to_motion", "description"), ("motion_to_text", "motion"))
    ),
    Row(
        "`live` on clips generated for {n} descriptions of actions that both models know",
        "macro top-1 **{macro_top1:.0f} %**; actions known from Kinect clips only, in Kinect quality: "
        "{kinect.macro_top1:.0f} %",
        "recognized.json",
    ),
    Row(
        "`live` reports the new action within 2 s of {n} prompt changes",
        "**{seen:.0f} %**, median delay {median_s:.1f} s",
        "streaming.json",
    ),
    Row(
        "change of joint velocity between frames where windows meet",
        "p99 {velocity_jump_m_per_s.seams.p99:.2f} m/s; at prompt changes {velocity_jump_m_per_s.changes.p99:.2f} m/s, "
        "elsewhere {velocity_jump_m_per_s.inside.p99:.2f} m/s",
        "streaming.json",
    ),
    Row(
        "{together.n} prompts of legs and arms at once, {sequences.n} of two actions one after the other: both "
        "seen, by rules",
        "**{together.split:.0f} %** and **{sequences.split:.0f} %**; not split into actions {together.plain:.0f} % and "
        "{sequences.plain:.0f} %",
        "composed.json",
    ),
    Row(
        "the best of {best_of} motions instead of one, in {time.times_one:.1f} x the CPU time: {recognized.n} prompts "
        "of one action by `live`, {together.n} and {sequences.n} of two by rules",
        "{recognized.one:.0f} → **{recognized.best:.0f} %**, {together.one:.0f} → **{together.best:.0f} %** and "
        "{sequences.one:.0f} → **{sequences.best:.0f} %**",
        "best_of.json",
    ),
    Row(
        "as described, by rules: {counts.n} counts of one to three, {still.n} times standing still, {turns.n} turns of "
        "90, 180 and 360 degrees; as they are → split",
        "{counts.plain:.0f} → **{counts.split:.0f} %**, {still.plain:.0f} → **{still.split:.0f} %** and "
        "{turns.plain:.0f} → **{turns.split:.0f} %**",
        "details.json",
    ),
    Row(
        "{test.n} prompts, known to the model or gibberish, in other languages and of other actions: told rightly",
        "**{test.right:.0f} %**; known {test.known.right:.0f} %, unknown {test.unknown.right:.0f} %",
        "out_of_range.json",
    ),
    Row(
        "{middle.n} edits of two seconds in the middle of a clip: root at most 1.2 x as fast as before, feet slide at "
        "most 1.5 x as much",
        "**{middle.both_ok:.0f} %**, at most {middle.root_ratio_max:.2f} x and {middle.slide_ratio_max:.2f} x; in "
        "{middle.legs_kept} of them the legs keep their motion; at the end of a clip {end.both_ok:.0f} %",
        "edits.json",
    ),
    Row(
        "`default-fast`: motion capture, Kinect, held-out pairs of action and style",
        "R-precision at 1 {test.generated.r_precision_1.mean:.1f}, {test_kinect.generated.r_precision_1.mean:.1f} and "
        "{pairs.generated.r_precision_1.mean:.1f} %, FID {test.generated.fid_pca.mean:.3f}, "
        "{test_kinect.generated.fid_pca.mean:.3f} and {pairs.generated.fid_pca.mean:.3f}",
        "generation_fast.json",
    ),
    Row(
        "… legs and arms at once, and two actions one after the other",
        "{together.split:.0f} % and {sequences.split:.0f} %",
        "composed_fast.json",
    ),
    Row(
        "… counts, standing still and turns",
        "{counts.split:.0f} %, {still.split:.0f} % and {turns.split:.0f} %",
        "details_fast.json",
    ),
    Row(
        "… edits in the middle and at the end of a clip",
        "{middle.both_ok:.0f} % and {end.both_ok:.0f} %",
        "edits_fast.json",
    ),
    Row(
        "matrix products in 8 bits instead of float32",
        "R-precision at 1 {difference.r_precision_1.mean:+.1f} points [{difference.r_precision_1.low:+.1f}, "
        "{difference.r_precision_1.high:+.1f}], FID {before.fid_pca.mean:.3f} → {after.fid_pca.mean:.3f}",
        "precision.json",
    ),
    Row(
        "{row.steps} autoregressive steps of {row.evaluations} evaluations ({row.solver}) instead of the model's own",
        "R-precision at 1 {row.difference.r_precision_1.mean:+.1f} points [{row.difference.r_precision_1.low:+.1f}, "
        "{row.difference.r_precision_1.high:+.1f}], FID {row.before.fid_pca.mean:.3f} → {row.after.fid_pca.mean:.3f}",
        "sampling.json",
        {"row": lambda r: r["rows"][0]},
    ),
    Row(
        "{validation.counts.clips} validation clips through the auto-encoder",
        "joint error **{validation.mpjpe_mm.mean:.1f} mm** relative to the pelvis, "
        "{validation.world_mpjpe_mm.mean:.0f} mm "
        "in the world",
        "reconstruction.json",
    ),
]

GENERATION = [
    Row(
        "{seconds:g} s of motion: {evaluations.steps} steps, {evaluations.head_calls} evaluations of the head",
        "**{clip_ms:.0f} ms**, {real_time_factor:.0f} times real time; in float32 {baselines.fp32.p50_ms:.0f} ms, and "
        "in 12 steps of 8 evaluations {baselines.fp32_longer.p50_ms:.0f} ms",
        "generate.json",
    ),
    Row(
        "`default-fast`, which includes its guidance: one evaluation of the networks, not two",
        "**{clip_ms:.0f} ms**; the first second of a stream {first_chunk_ms:.0f} ms",
        "generate_fast.json",
    ),
    Row(
        "the first second of a stream",
        "**{first_chunk_ms:.0f} ms**, p99 {first_chunk.p99_ms:.0f} ms",
        "generate.json",
    ),
    Row(
        "the same sampler in plain PyTorch, float32",
        "{baselines.torch.p50_ms:.0f} ms, **{ratio:.1f} x** as long as ours in float32; skipping tokens without "
        "effect, {baselines.torch_eliminated.p50_ms:.0f} ms",
        "generate.json",
        {"ratio": lambda r: r["baselines"]["torch"]["p50_ms"] / r["baselines"]["fp32"]["p50_ms"]},
    ),
    Row(
        "largest difference of a coordinate from PyTorch, in float32",
        "{mm:.2g} mm",
        "generate.json",
        {"mm": lambda r: 1e3 * r["parity_max_m"]},
    ),
    Row(
        "guided by the recognizer in the last three steps, the default with guidance",
        "{baselines.guided.p50_ms:.0f} ms, {ratio:.2f} x unguided",
        "generate.json",
        {"ratio": lambda r: r["baselines"]["guided"]["p50_ms"] / r["baselines"]["unguided"]["p50_ms"]},
    ),
    Row(
        "guided in all steps, without skipping tokens in either",
        "{baselines.guided_without_elimination.p50_ms:.0f} ms, {guided_over_unguided_without_elimination:.2f} x "
        "unguided",
        "generate.json",
    ),
    Row(
        "search {size.motions:,} motions by text",
        "**{size.text.query.p50_ms:.1f} ms**, p99 {size.text.query.p99_ms:.1f} ms, of which the search takes "
        "{size.text.searching.p50_ms:.1f} ms (lower bound {size.floor_ms:.1f} ms)",
        "search.json",
        {"size": lambda r: r["sizes"][-1]},
    ),
    Row(
        "the published size, {millions:.0f} M parameters with random weights, two threads: {steps} steps of "
        "{evaluations} evaluations",
        "**{seconds.runtime_fp32:.1f} s** vs. PyTorch's {seconds.torch:.1f} s: **{times_faster.runtime_fp32:.1f} x**; "
        "8-bit products {seconds.runtime_int8:.1f} s, {times_faster.runtime_int8:.1f} x",
        "published_size.json",
        {"millions": lambda r: r["parameters"] / 1e6},
    ),
    Row(
        "… in PyTorch, skipping tokens without effect",
        "{seconds.torch_eliminated:.1f} s, in bfloat16 {seconds.torch_eliminated_bf16:.1f} s",
        "published_size.json",
    ),
    Row(
        "… largest difference of a token from PyTorch",
        "{tokens_max_abs.fp32:.1e}; 8-bit {tokens_max_abs.int8:.2g}, bfloat16 "
        "{tokens_max_abs.torch_eliminated_bf16:.2g} "
        "(standard deviation of tokens {tokens_deviation:.2g})",
        "published_size.json",
    ),
    Row(
        "… memory",
        "{memory.weights_gb:.1f} GB of weights, {memory.resident_fp32_gb:.1f} GB resident including torch, peak "
        "{memory.peak_gb:.1f} GB",
        "published_size.json",
    ),
]

GPU = [
    Row(
        "kernels of {operations} operations vs. the reference, fp32, fp16 and bf16",
        "{count} cases correct, at most {worst:.2f} of the allowed error; {where}",
        "gpu.json",
        {
            "operations": lambda r: len({case["operation"] for case in r["parity"]}),
            "count": lambda r: len(r["parity"]),
            "worst": lambda r: max(case["error"] / case["allowed"] for case in r["parity"]),
            "where": lambda r: f"on {r['environment']['gpu']['name']}" if r["timed"] else "in Triton's interpreter",
        },
    ),
    Row(
        "compiled for {target}, every configuration of the autotuner",
        "{count} kernels, **{dry}** of them without register spills; at most {shared:.0f} KiB of shared memory",
        "kernels_compiled.json",
        {
            "count": lambda r: len(r["kernels"]),
            "dry": lambda r: sum(kernel["spilled_bytes"] == 0 for kernel in r["kernels"]),
            "shared": lambda r: max(kernel["shared_bytes"] for kernel in r["kernels"]) / 1024,
        },
    ),
]


def named_sets(report: Any) -> Iterable[tuple[str, Any]]:
    return ((name, item) for name, item in report["sets"].items() if name != "bundled")


ROBOTS = [
    Row(
        "one frame to the 29 joints of a Unitree G1, time on the core",
        "p50 **{step.cpu.p50_ms:.3f} ms**, p99 {step.cpu.p99_ms:.2f} ms; {step.frames_per_s:,.0f} frames per second",
        "retarget.json",
    ),
    Row(
        "{key}: {item.clips} clips, {item.frames:,} frames",
        "keypoints off by {item.error_cm.p50:.1f} cm (median), {item.error_cm.p95:.1f} cm (95 %); "
        "{item.slip_cm.contacts} contacts slip at most **{item.slip_cm.p100:.2f} cm**, "
        "soles are at most {item.penetration_mm:.1f} mm under the floor; "
        "{item.collisions} frames in collision, {item.limit_violations} beyond a limit, "
        "{item.velocity_violations} too fast",
        "retarget.json",
        each=named_sets,
    ),
    Row(
        "mink {mink.mink}, the same targets, weights and limits, 3 iterations (ours: 3 to 12)",
        "**{mink.motionrt_times_faster:.0f} times** its speed ({mink.other.frames_per_s:,.0f} frames per second); "
        "error {mink.motionrt.error_cm.mean:.3f} cm, mink {mink.other.error_cm.mean:.3f} cm",
        "robots.json",
    ),
    Row(
        "… beside it: with parts of the body that stay apart, which mink is not asked for",
        "{mink.apart_times_faster:.0f} times its speed; error {mink.apart.error_cm.mean:.3f} cm",
        "robots.json",
    ),
    Row(
        "{seconds:.0f} s of references at 50 Hz from generated motion, {cpus} CPUs, load average {load_average.1:.0f}",
        "{references:,} references, sent late by p50 {late_p50_ms:.2f} ms, p99 **{late_p99_ms:.2f} ms**, received "
        "{interval_ms.p1:.1f} to {interval_ms.p99:.1f} ms (p1, p99) after the one before; {prompts} prompts "
        "change it after p50 **{prompt_ms.p50:.0f} ms**, p95 {prompt_ms.p95:.0f} ms, {prompt_ms.p100:.0f} ms at most",
        "robot_stream.json",
    ),
    Row(
        "there and back: angles of a G1 that follows LAFAN1, against those from its joint positions as a person's",
        "median correlation **{there_and_back.correlation.median:.2f}**, mean error "
        "{there_and_back.error_deg.mean:.1f}°, in {there_and_back.recovered:,} of {there_and_back.frames:,} frames, "
        "whose angles could be recovered",
        "robots.json",
    ),
]


def wheels(report: Any) -> Iterable[tuple[str, Any]]:
    for wheel in report["wheels"]:
        first = wheel["checks"][0]
        backends = " and ".join(check["backend"] for check in wheel["checks"])
        yield wheel["tag"], {**first, "backends": backends, "megabytes": wheel["bytes"] / 1e6}


PLATFORMS = [
    Row(
        "Linux on {item.machine}, Python {item.python}",
        "wheel of {item.megabytes:.1f} MB, installed in an empty environment; {item.frames} frames stepped: "
        "{item.backends}",
        "wheels.json",
        each=wheels,
    ),
    Row(
        "{key}, the C library",
        "{item.file} of {item.megabytes:.1f} MB, built, not run",
        "wheels.json",
        each=lambda r: ((one["target"], one | {"megabytes": one["bytes"] / 1e6}) for one in r.get("libraries", ())),
    ),
]

TABLES: Mapping[str, list[Row]] = {
    "platforms": PLATFORMS,
    "robots": ROBOTS,
    "measured": MEASURED,
    "speed": SPEED,
    "accuracy": ACCURACY,
    "unseen": ZERO_SHOT,
    "motion": MOTION,
    "making": GENERATION,
    "serving": SERVING,
    "gpu": GPU,
}
