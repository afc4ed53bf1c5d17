"""The README's tables of measurements: `python -m motionrt.bench.readme README.md bench/results`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

Rows = list[tuple[str, str, str]]  # what was measured, the figure, the file it stands in


def speed(results: Path) -> Rows:
    found, soak = _read(results, "recognize.json"), _read(results, "soak.json")
    step, together, floor = found["step"], found["together"], found["floor"]
    ours = {name: figures["times_recognizer_step"] for name, figures in found["contenders"].items()}
    network_ms, onnx_ms = (found["contenders"][name]["p50_ms"] for name in ("native_network", "onnx_step"))
    reading = found["contenders"]["only_reading"]
    window_ms = found["contenders"]["onnx_window"]["p50_ms"]

    def times(name: str) -> str:
        return f"**{ours[name]:.{0 if ours[name] >= 20 else 1}f} x** as long"

    file = "recognize.json"
    return [
        (
            "a frame, from sensor joints to decision",
            f"p50 **{step['p50_ms']:.3f} ms**, p99 {step['p99_ms']:.3f} ms, {step['steps_per_s']:,.0f} frames a second",
            file,
        ),
        (
            f"… at {found['paced']['rate_hz']:.0f} Hz, asleep in between",
            f"p50 {found['paced']['p50_ms']:.3f} ms, p99 {found['paced']['p99_ms']:.3f} ms",
            file,
        ),
        (
            f"{together['people']} people in one call",
            f"p50 **{together['p50_ms']:.3f} ms**, p99 {together['p99_ms']:.3f} ms",
            file,
        ),
        (
            "for comparison: numpy reads the weights four times and does no more",
            f"p50 {reading['p50_ms']:.3f} ms, p99 {reading['p99_ms']:.3f} ms",
            file,
        ),
        (
            "cold process: start, import, load `live`, first decision",
            f"**{found['cold_start']['median_ms']:.0f} ms**, without Python's own start "
            f"{found['cold_start']['without_interpreter_ms']:.0f} ms",
            file,
        ),
        (
            "the network alone, native, against its step graph in ONNX Runtime",
            f"{network_ms:.3f} ms against {onnx_ms:.3f} ms: **{onnx_ms / network_ms:.1f} x**",
            file,
        ),
        (
            "… with its weights in bfloat16",
            f"{found['contenders']['native_bf16']['p50_ms']:.3f} ms",
            file,
        ),
        (
            "… against the whole window run again for every frame in ONNX Runtime",
            f"{window_ms:.1f} ms: **{window_ms / network_ms:.0f} x**",
            file,
        ),
        *(
            (f"{title}, compared with `Recognizer.step`", times(name), file)
            for name, title in (
                ("torch_step", "the same network stepped in PyTorch"),
                ("ctr_gcn_onnx", "CTR-GCN's window (64 frames, two people) in ONNX Runtime"),
            )
            if name in ours
        ),
        (
            f"floor of a step: {floor['flops'] / 1e6:.1f} MFLOP, "
            f"{(floor['weight_bytes'] + floor['state_bytes']) / 1e6:.2f} MB",
            f"{floor['floor_ms']:.3f} ms at {floor['peak_gflops']:.0f} GFLOP/s and {floor['read_gb_per_s']:.0f} GB/s "
            f"of one thread; **{100 * floor['fraction']:.0f} %** of it reached",
            file,
        ),
        ("largest difference of a logit from ONNX Runtime's", f"{found['parity_max_abs']:.1e}", file),
        (
            f"memory after {soak['frames']:,} more frames with people coming and going",
            f"{soak['growth_mb']:+.2f} MB",
            "soak.json",
        ),
    ]


def accuracy(results: Path) -> Rows:
    live, half = _read(results, "live.json"), _read(results, "live_bf16.json")
    chosen = _read(results, "thresholds.json")
    cross, few_false = chosen["cross_fitted"], chosen["cross_fitted_few_false"]
    ucla, unseen = _read(results, "nw_ucla.json"), _read(results, "leave_one_set_out.json")["sets"]
    windowed, first = _read(results, "ctr_gcn.json"), ucla["seeds"][0]
    copies = [seed["without_copies"]["top1"] for seed in ucla["seeds"]]
    return [
        (
            f"`live`, {live['n']} validation clips, stepped",
            f"macro top-1 **{live['macro_top1']:.1f} %** of {live['macro_classes']} labels, top-1 {live['top1']:.1f} %",
            "live.json",
        ),
        (
            "… with the weights in bfloat16",
            f"macro top-1 {half['macro_top1']:.1f} %, top-1 {half['top1']:.1f} %",
            "live_bf16.json",
        ),
        *(
            (f"… of them {name}", f"top-1 {figure['top1']:.1f} % of {figure['n']}", "live.json")
            for name, figure in live["per_set"].items()
        ),
        *(
            (
                f"`live` trained without {name}",
                f"top-1 {figure['top1']:.1f} % of {figure['n']}",
                "leave_one_set_out.json",
            )
            for name, figure in unseen.items()
        ),
        (
            f"`live` in {cross['minutes']:.0f} minutes of streams, {cross['actions']} actions",
            f"event F1 **{cross['f1']:.1f} %**, {cross['false_onsets_per_minute']:.2f} false onsets a minute",
            "thresholds.json",
        ),
        (
            "… counting only onsets that were also told within 0.5 s",
            f"event F1 {cross['f1_when_told']:.1f} %",
            "thresholds.json",
        ),
        (
            "… with thresholds for few false onsets",
            f"event F1 {few_false['f1']:.1f} %, {few_false['false_onsets_per_minute']:.2f} false onsets a minute",
            "thresholds.json",
        ),
        (
            "… *none*, frame by frame",
            f"precision {cross['none_precision']:.1f} %, recall {cross['none_recall']:.1f} %",
            "thresholds.json",
        ),
        (
            "… from an action's start to its first right label, median",
            f"{cross['median_s_to_first_right']:.2f} s, {100 * cross['median_share_to_first_right']:.0f} % of it",
            "thresholds.json",
        ),
        (
            f"StreamGCN on NW-UCLA, {first['n']} clips of view 3, {len(ucla['top1'])} seeds",
            f"top-1 **{ucla['top1_mean']:.1f} %** ± {ucla['top1_std']:.1f}",
            "nw_ucla.json",
        ),
        (
            f"… without the {first['n'] - first['without_copies']['n']} clips that are copies of view 2",
            f"top-1 {sum(copies) / len(copies):.1f} %",
            "nw_ucla.json",
        ),
        *(
            (
                f"{'…' if i else 'CTR-GCN on the same clips,'} {name.replace('_', ' ').replace('+', ' + ')}",
                f"top-1 **{figure['top1']:.1f} %**, without copies {figure['without_copies']['top1']:.1f} %",
                "ctr_gcn.json",
            )
            for i, (name, figure) in enumerate((windowed["streams"] | windowed["ensembles"]).items())
        ),
    ]


def motion(results: Path) -> Rows:
    made, found = _read(results, "generation.json"), _read(results, "retrieval.json")
    rebuilt, guided = _read(results, "reconstruction.json"), _read(results, "guidance.json")
    rows: Rows = []
    titles = {"test": "takes", "pairs": "(action, style) pairs", "test_kinect": "Kinect subjects"}
    for split, title in titles.items():
        real, ours = made[split]["real"], made[split]["generated"]

        def beside(name: str, digits: int = 1, real: Any = real, ours: Any = ours) -> str:
            return f"{ours[name]['mean']:.{digits}f} (real {real[name]['mean']:.{digits}f})"

        rows += [
            (
                f"generated for {made[split]['counts']['clips']} clips of {title} kept out of all training",
                f"R-precision % at 1 **{beside('r_precision_1')}**, at 3 {beside('r_precision_3')}, "
                f"FID {beside('fid_pca', 3)}, diversity {beside('diversity', 2)}",
                "generation.json",
            ),
            (
                "… as motion",
                f"jitter {beside('jitter', 0)} m/s³, frames in which a foot slides {beside('foot_skating')} %, "
                f"bone lengths drift {beside('bone_length_drift')} %, "
                f"nearest piece trained on {beside('nearest_training_piece_mm', 0)} mm away",
                "generation.json",
            ),
        ]
    best = max(guided["rows"], key=lambda row: row["difference"]["r_precision_1"]["low"])
    full = max(row["difference"]["r_precision_1"]["mean"] for row in guided["rows"] if row["last"] is None)
    gain, which = best["difference"]["r_precision_1"], best["last"] or "all"
    rows.append(
        (
            f"guided by its own recogniser (step {best['step']:g}, {which} autoregressive steps)",
            f"R-precision at 1 {gain['mean']:+.1f} points [{gain['low']:+.1f}, {gain['high']:+.1f}], at best "
            f"{full:+.1f} guided in all steps; FID {best['before']['fid_pca']['mean']:.3f} → "
            f"{best['after']['fid_pca']['mean']:.3f}",
            "guidance.json",
        )
    )
    for direction, title in (("text_to_motion", "a description"), ("motion_to_text", "a motion")):

        def recalls(who: str, direction: str = direction) -> str:
            of = found[who][direction]["all_tolerant"]
            return f"{of['R@1']['mean']:.1f} / {of['R@3']['mean']:.1f} / {of['R@10']['mean']:.1f}"

        rows.append(
            (
                f"retrieval by {title} among {found['counts']['clips']}, R@1 / 3 / 10",
                f"**{recalls('model')}**, bag of joints {recalls('bag_of_joints')}, chance {recalls('chance')}",
                "retrieval.json",
            )
        )
    said, stream = _read(results, "recognised.json"), _read(results, "streaming.json")
    jump, eight = stream["velocity_jump_m_per_s"], _read(results, "precision.json")
    loss = eight["difference"]["r_precision_1"]
    rows += [
        (
            f"`live` on clips made for {said['n']} descriptions of actions that both know",
            f"macro top-1 **{said['macro_top1']:.0f} %**; of actions that only a Kinect saw, as such a clip, "
            f"{said['kinect']['macro_top1']:.0f} %",
            "recognised.json",
        ),
        (
            f"`live` sees the new action within 2 s of {stream['n']} changes of prompt",
            f"**{stream['seen']:.0f} %**, median {stream['median_s']:.1f} s",
            "streaming.json",
        ),
        (
            "change of a joint's velocity from frame to frame where windows meet",
            f"p99 {jump['seams']['p99']:.2f} m/s, where the prompt changes {jump['changes']['p99']:.2f}, elsewhere "
            f"{jump['inside']['p99']:.2f}",
            "streaming.json",
        ),
        (
            "products in 8 bits instead of float32",
            f"R-precision at 1 {loss['mean']:+.1f} points [{loss['low']:+.1f}, {loss['high']:+.1f}], FID "
            f"{eight['before']['fid_pca']['mean']:.3f} → {eight['after']['fid_pca']['mean']:.3f}",
            "precision.json",
        ),
    ]
    validation = rebuilt["validation"]
    off, in_world = (validation[name]["mean"] for name in ("mpjpe_mm", "world_mpjpe_mm"))
    rows.append(
        (
            f"{validation['counts']['clips']} validation clips through the auto-encoder",
            f"joints **{off:.1f} mm** off, in the world {in_world:.0f} mm",
            "reconstruction.json",
        )
    )
    return rows


def making(results: Path) -> Rows:
    """How long motion takes to make and to find."""
    made, search, xl = _read(results, "generate.json"), _read(results, "search.json"), _read(results, "xl.json")
    ms = {name: figures["p50_ms"] for name, figures in made["contenders"].items()}
    largest = search["sizes"][-1]
    step = made["guided_over_unguided_without_elimination"]
    count, taken, faster = made["evaluations"], xl["seconds"], xl["times_faster"]
    return [
        (
            f"{made['seconds']:g} s of motion: {count['steps']} steps, {count['head_calls']} evaluations of the head",
            f"**{ms['unguided']:.0f} ms**, {made['real_time_factor']:.0f} times real time; with 8-bit products "
            f"{ms['int8']:.0f} ms",
            "generate.json",
        ),
        (
            "the first second of a stream",
            f"**{made['first_chunk_ms']:.0f} ms**, p99 {made['first_chunk']['p99_ms']:.0f} ms",
            "generate.json",
        ),
        (
            "the same sampler in plain PyTorch",
            f"{ms['torch']:.0f} ms, **{ms['torch'] / ms['unguided']:.1f} x** as long; leaving out what cannot matter, "
            f"{ms['torch_eliminated']:.0f} ms",
            "generate.json",
        ),
        ("largest difference of a coordinate from PyTorch's", f"{1e3 * made['parity_max_m']:.2g} mm", "generate.json"),
        (
            "guided by the recogniser in the last three steps, as it ships",
            f"{ms['guided']:.0f} ms, {ms['guided'] / ms['unguided']:.2f} x unguided",
            "generate.json",
        ),
        (
            "guided in all steps, nothing left out in either",
            f"{ms['guided_without_elimination']:.0f} ms, {step:.2f} x unguided",
            "generate.json",
        ),
        (
            f"{largest['motions']:,} motions searched by a text",
            f"**{largest['text']['query']['p50_ms']:.1f} ms**, p99 {largest['text']['query']['p99_ms']:.1f} ms, of it "
            f"{largest['text']['searching']['p50_ms']:.1f} ms for the search (floor {largest['floor_ms']:.1f})",
            "search.json",
        ),
        (
            f"the published size, {xl['parameters'] / 1e6:.0f} M parameters with random weights, two threads: "
            f"{xl['steps']} steps of {xl['evaluations']} evaluations",
            f"**{taken['runtime_fp32']:.1f} s** against PyTorch's {taken['torch']:.1f} s: "
            f"**{faster['runtime_fp32']:.1f} x**; 8-bit products {taken['runtime_int8']:.1f} s, "
            f"{faster['runtime_int8']:.1f} x",
            "xl.json",
        ),
        (
            "… in PyTorch, leaving out what cannot matter",
            f"{taken['torch_eliminated']:.1f} s, in bfloat16 {taken['torch_eliminated_bf16']:.1f} s",
            "xl.json",
        ),
        (
            "… tokens differ from PyTorch's by at most",
            f"{xl['tokens_max_abs']['fp32']:.1e}; 8-bit {xl['tokens_max_abs']['int8']:.2g}, bfloat16 "
            f"{xl['tokens_max_abs']['torch_eliminated_bf16']:.2g} (deviation of a token {xl['tokens_deviation']:.2g})",
            "xl.json",
        ),
        (
            "… memory",
            f"{xl['memory']['weights_gb']:.1f} GB of weights, {xl['memory']['resident_fp32_gb']:.1f} GB resident with "
            f"torch beside it, peak {xl['memory']['peak_gb']:.1f} GB",
            "xl.json",
        ),
    ]


def unseen(results: Path) -> Rows:
    """Labels that were not trained on, and what they take."""
    found, speed, large = (_read(results, name) for name in ("unseen.json", "zero_shot.json", "tdsm.json"))
    helper = _read(results, "cocodiff.json")["variants"]
    ours, aligned = (found["methods"][name] for name in ("tdsm", "alignment"))
    ahead, changed = found["ahead_of_alignment"]["tdsm"], speed["streams"]["changing"]
    of_40 = next(of for of in speed["match"] if of["labels"] == speed["set_labels"]["labels"])

    def interval(of: Any) -> str:
        return f"{of['mean']:.1f} % [{of['low']:.1f}, {of['high']:.1f}]"

    def sides(name: str) -> str:
        seen, other, both = (ours[name][side]["mean"] for side in ("seen", "unseen", "harmonic"))
        return f"seen {seen:.1f} %, unseen {other:.1f} %, harmonic mean **{both:.1f} %**"

    return [
        (
            f"top-1 of labels never trained on among {100 / found['chance']:.0f}, {len(found['splits'])} splits, "
            f"{len(ours['zsl']['everything']['by_seed'])} seeds",
            f"**{interval(ours['zsl']['everything'])}**, chance {found['chance']:.1f} %",
            "unseen.json",
        ),
        ("… told by label and motion alone", interval(ours["zsl"]["label and motion"]), "unseen.json"),
        ("… told by the label alone", interval(ours["zsl"]["label"]), "unseen.json"),
        (
            "… cosine alignment of the same features and sentences",
            f"{interval(aligned['zsl']['everything'])}; TDSM {ahead['mean']:+.1f} points "
            f"[{ahead['low']:+.1f}, {ahead['high']:+.1f}]",
            "unseen.json",
        ),
        *(
            (f"… TDSM: {of['about']}", interval(of["zsl"]["everything"]), "unseen.json")
            for name, of in found["methods"].items()
            if name not in ("tdsm", "alignment")
        ),
        ("… clips of all labels among all", sides("gzsl"), "unseen.json"),
        ("… with seen labels handicapped", sides("gzsl_calibrated"), "unseen.json"),
        (
            f"top-1 by {', '.join(found['few_shot'])} examples of each, of other people; 95 % of draws",
            ", ".join(interval(of) for of in found["few_shot"].values()),
            "unseen.json",
        ),
        (
            f"{of_40['labels']} labels matched, one person",
            f"**{of_40['p50_ms']:.1f} ms**, four times a second, beside the stream",
            "zero_shot.json",
        ),
        (
            f"`set_labels` with {speed['set_labels']['labels']} labels",
            f"new ones **{speed['set_labels']['cold']['p50_ms']:.0f} ms**, known ones "
            f"{speed['set_labels']['cached']['p50_ms']:.1f} ms",
            "zero_shot.json",
        ),
        (
            f"a frame at {speed['rate_hz']:.0f} Hz while labels change {changed['changes']} times",
            f"p50 {changed['p50_ms']:.2f} ms (without a matcher {speed['streams']['encoder']['p50_ms']:.2f}); "
            f"{changed['frames_lost']} frames lost, longest wait {changed['waited_for_changes_ms']:.2f} ms",
            "zero_shot.json",
        ),
        (
            f"TDSM's published size, {large['xl']['classes']} classes and {large['noises']} noises of one clip",
            f"{large['xl']['matcher_s']:.1f} s, **{large['xl']['times_faster']:.1f} x** faster than class by class",
            "tdsm.json",
        ),
        *(
            (
                f"CoCoDiff: {of['about']}, less the recogniser alone",
                f"{of['gain']['top1']['mean']:+.1f} points of top-1 [{of['gain']['top1']['low']:+.1f}, "
                f"{of['gain']['top1']['high']:+.1f}], {of['cpu_ratio']:.2f} x the time",
                "cocodiff.json",
            )
            for of in helper.values()
            if "gain" in of
        ),
    ]


def serving(results: Path) -> Rows:
    """What the server bears, and the parsers."""
    found, fuzzed, nonsense = (_read(results, name) for name in ("serve.json", "fuzz.json", "fuzz_server.json"))
    several, viewer = _read(results, "replicas.json"), _read(results, "view.json")
    killed = several["killed"]
    steady, flooded, after = found["steady"], found["overload"], found["overload"]["after"]
    beside = flooded["beside"]
    inputs = sum(count["inputs"] for count in fuzzed["parsers"].values())
    slowest = max(count["slowest_s"] for count in fuzzed["parsers"].values())
    return [
        (
            f"{found['clients']} streams at {found['rate_hz']:.0f} Hz for {found['seconds'] / 60:.0f} minutes, clients "
            f"on the same two cores: {steady['frames']:,} frames",
            f"**{steady['lost']} replies lost, {steady['wrong']} wrong**, {steady['told_dropped']} told to be dropped; "
            f"in the server p50 {steady['server']['p50_ms']:.2f} ms, p99 **{steady['server']['p99_ms']:.1f} ms**; "
            f"memory +{steady['growth_mb']:.1f} MB",
            "serve.json",
        ),
        (
            f"{flooded['times_capacity']:.1f} times as many frames as it can decide on ({found['capacity_hz']:,.0f} a "
            f"second), for {flooded['seconds']:.0f} s",
            f"stays up; {flooded['flooders']['lost']} replies lost, {flooded['flooders']['told_dropped']:,} of "
            f"{flooded['flooders']['sent']:,} frames told to be dropped; a second later p99 "
            f"{after['server']['p99_ms']:.1f} ms",
            "serve.json",
        ),
        (
            "… streams at camera rate beside that flood",
            f"{beside['lost']} lost, {beside['wrong']} wrong, "
            f"{100 * beside['told_dropped'] / beside['frames']:.0f} % told to be dropped; p99 "
            f"{beside['server']['p99_ms']:.0f} ms",
            "serve.json",
        ),
        (
            f"{inputs:,} damaged inputs for {len(fuzzed['parsers'])} parsers in {fuzzed['seconds'] / 60:.0f} minutes",
            f"**{len(fuzzed['findings'])}** crashes, hangs or messages of several lines; slowest {slowest:.2f} s, "
            f"{fuzzed['peak_mb']:.0f} MB",
            "fuzz.json",
        ),
        (
            f"{sum(nonsense['conversations'].values()):,} conversations of nonsense with the server in "
            f"{nonsense['seconds'] / 60:g} minutes, beside a stream at {nonsense['rate_hz']:.0f} Hz",
            f"**{len(nonsense['findings'])}** crashes, messages unanswered or wrong labels; the stream's slowest "
            f"reply after {nonsense['beside']['round_trip']['max_ms']:.0f} ms; memory {nonsense['growth_mb']:+.1f} MB",
            "fuzz_server.json",
        ),
        (
            f"two servers share {several['clients']} streams at {several['rate_hz']:.0f} Hz, one is killed",
            f"every stream is answered again within **{killed['longest_silence_s']:.2f} s**; {killed['wrong']} of "
            f"{killed['frames']:,} labels wrong, {killed['resets']} resets told; before that a reply takes "
            f"{killed['round_trip']['p50_ms']:.0f} ms through Ray",
            "replicas.json",
        ),
        (
            f"the viewer for {viewer['seconds'] / 60:.0f} minutes, with a browser on it",
            f"memory {viewer['growth_mb']:+.1f} MB, files {viewer['files_end'] - viewer['files_start']:+.0f}, threads "
            f"{viewer['threads_end'] - viewer['threads_start']:+.0f}; {viewer['frames_dropped']:.0f} frames dropped, "
            f"{viewer['painted_hz']:.0f} images a second by software rendering",
            "view.json",
        ),
    ]


def gpu(results: Path) -> Rows:
    """What of the GPU's kernels is known."""
    found, compiled = (_read(results, name) for name in ("gpu.json", "kernels_compiled.json"))
    parity, made = found["parity"], compiled["kernels"]
    dry = sum(of["spilled_bytes"] == 0 for of in made)
    shared = max(of["shared_bytes"] for of in made) / 1024
    worst = max(of["error"] / of["allowed"] for of in parity)
    operations = len({of["operation"] for of in parity})
    return [
        (
            f"kernels of {operations} operations against the reference, fp32, fp16 and bf16",
            f"{len(parity)} cases right, at most {worst:.2f} of the error that is allowed; "
            + ("on " + found["environment"]["gpu"] if found["timed"] else "in Triton's interpreter"),
            "gpu.json",
        ),
        (
            f"compiled for {compiled['target']}, every configuration that is tried",
            f"{len(made)} kernels, **{dry}** of them keep all in registers; at most {shared:.0f} KiB of shared memory",
            "kernels_compiled.json",
        ),
    ]


def table(rows: Rows) -> str:
    lines = [f"| {what} | {figure} | [{file}](bench/results/{file}) |" for what, figure, file in rows]
    return "\n".join(["| what | measured | file |", "|---|---|---|", *lines])


def with_tables(text: str, results: Path) -> str:
    """A README with its tables made anew, each between its two markers."""
    for rows in (serving, speed, accuracy, unseen, motion, making, gpu):
        begin, end = (f"<!-- {rows.__name__}: {which} -->" for which in ("begin", "end"))
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{table(rows(results))}\n{end}{rest.split(end)[1]}"
    return text


def _read(results: Path, name: str) -> dict[str, Any]:
    return json.loads((results / name).read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readme", type=Path)
    parser.add_argument("results", type=Path)
    args = parser.parse_args()
    args.readme.write_text(with_tables(args.readme.read_text(), args.results))


if __name__ == "__main__":
    main()
