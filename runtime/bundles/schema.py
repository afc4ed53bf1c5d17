"""manifest.json: the description of a bundle, as typed values."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from ..body.frontend import Frontend
from ..errors import CONTROLS, BundleError
from ..generation.schedule import OBJECTIVES, PADDINGS, Sampling
from ..generation.solvers import STAGES
from .fields import MAX_LABELS, Fields
from .signatures import INT8_SUFFIX, MATCHER_GRAPHS, SIGNATURES, VARIANTS, Shape, Tensors

SCHEMA = 1
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_BYTES = 1 << 32  # of all files
MATCHER = "matcher."  # prefix of a matcher's weights
SLOTS = ("label", "motion", "head", "hands", "arms", "hips", "legs", "feet")  # topics of the sentences on a label
TOKENIZER = "tokenizer.json"
MAX_SIZE = 1_000_000  # of a dimension of the networks
_RULES = json.loads(Path(__file__).with_name("recognition_schema.json").read_text())  # shared with the C++ core
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NON_COMMERCIAL = re.compile(r"non-?commercial|\bNC\b|research", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """Thresholds that turn logits into decisions.

    Attributes:
        temperature: divisor of the logits.
        smooth_s: time constant of the scores, seconds.
        on, off: score at which an action starts, and below which it ends.
        hold_s: time that the score must stay at `on`, seconds.
        others: if labels are chosen, share of the probability of the other ones that counts as "none", 0 to 1.
    """

    temperature: float
    smooth_s: float
    on: float
    off: float
    hold_s: float
    others: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarms:
    """Thresholds of each label by the false alarms that they lead to.

    Attributes:
        per_minute: [B] false onsets per minute, rising.
        on, off: [B][C] as in `Thresholds`; `on` of a label never rises.
        default: number of false onsets per minute unless the user chooses one; None: `Thresholds` apply.
    """

    per_minute: tuple[float, ...]
    on: tuple[tuple[float, ...], ...]
    off: tuple[tuple[float, ...], ...]
    default: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """Accuracy of a label in data sets that were left out of the training.

    Attributes:
        loso: leave-one-set-out accuracy in percent; None: no set could be left out.
        sets: names of the data sets that have the label.
    """

    loso: float | None
    sets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """An ONNX file and its inputs and outputs."""

    file: str
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """Hash (64 hex digits) and size (bytes) of one file."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Fields that the manifests of all tasks share."""

    task: ClassVar[str] = ""
    extra_files: ClassVar[tuple[str, ...]] = ()  # needed in addition to weights and graphs
    quantized: ClassVar[bool] = False  # weights are stored in fewer bits than the graphs take

    name: str
    license: str
    model: dict[str, Any]
    graphs: dict[str, Graph]
    metrics: dict[str, Any]
    files: dict[str, FileEntry]

    @property
    def non_commercial(self) -> bool:
        return _NON_COMMERCIAL.search(self.license) is not None

    @property
    def required_files(self) -> tuple[str, ...]:
        """Files that are needed to run the model."""
        return (WEIGHTS, *(graph.file for graph in self.graphs.values()), *self.extra_files)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognitionManifest(Manifest):
    """Manifest of a recognizer.

    Attributes:
        joints, state, features: V, S and D of the step graph.
        alarms: thresholds by false alarms; None: it has none.
        reliability: of some labels.
        flat_model: name of the model for 2-D layouts, in the folder that holds this one's folder; None: there is none.
    """

    task: ClassVar[str] = "recognition"

    layout: str
    fps: float
    frontend: Frontend
    decision: Thresholds
    labels: tuple[str, ...]
    none: str | None
    receptive_field: int
    delay: int
    state: int
    features: int
    joints: int
    alarms: Alarms | None = None
    reliability: dict[str, Reliability] = field(default_factory=dict)
    flat_model: str | None = None

    @property
    def none_index(self) -> int:
        """Index of the label that means no action, -1 if the model has none."""
        return -1 if self.none is None else self.labels.index(self.none)


@dataclass(frozen=True, kw_only=True, slots=True)
class Matching:
    """Settings for matching features of motion with texts and examples.

    Attributes:
        labels: labels from training, with a sentence for each of `SLOTS` or some of them.
        background: the same for motion that is not an action.
        scale, none: logit of a label = scale * (smallest background error - error of the label) - none; the logit of
            "none" is 0.
        prototype_scale, prototype_offset: logit of a label with examples = scale * (offset - d) + log of its share in
            them; d is the mean squared distance to the nearest example of any label.
        window_s, every_s: length of the matched part of a stream, and interval between matches, seconds.
        new: subtracted from the error of a label that is not from training, whose text fits motion less well.
        aliases: other names of labels from training.
        rivals: labels from training that are not chosen count as background, unless their cosine with a chosen one in
            the space is higher; None, or without a space: they do not count.
        encoder_sha256, text_sha256: hashes of the encoder's weights and of the text encoder.
    """

    labels: dict[str, dict[str, str]]
    background: dict[str, dict[str, str]]
    scale: float
    none: float
    prototype_scale: float
    prototype_offset: float
    window_s: float
    every_s: float
    encoder_sha256: str
    text_sha256: str
    aliases: dict[str, str] = field(default_factory=dict)
    new: float = 0.0
    rivals: float | None = None

    @property
    def known(self) -> dict[str, dict[str, str]]:
        """Sentences by label from training, and by its other names."""
        named = {name: {**self.labels[label], SLOTS[0]: name} for name, label in self.aliases.items()}
        return named | self.labels


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """The space of a matcher by alignment: widths of its parts, and the share of each in the cosine."""

    parts: tuple[int, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ZeroShotManifest(RecognitionManifest):
    """Manifest of a recognizer whose labels are texts: an encoder of motion and a matcher of its features.

    Attributes:
        matched: width of the features that are matched.
        space: of a matcher by alignment; None: the matcher is a network in graphs.
    """

    task: ClassVar[str] = "zero-shot"
    quantized: ClassVar[bool] = True

    matching: Matching
    matched: int
    space: Space | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledManifest(RecognitionManifest):
    """Manifest of a zero-shot recognizer with labels compiled in, which the native engine runs alone."""

    task: ClassVar[str] = "compiled"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipManifest(RecognitionManifest):
    """Manifest of a recognizer of whole clips, of one or two people in the coordinates of a camera.

    Attributes:
        frames: of the input, to which a clip is resampled. people: in a clip.
        parents: parent of each joint, its own index for a root.
        weights: of the logits of each stream.
        window_s, every_s: length of the recognized part of a stream, and interval between decisions, seconds.
        scaled: the clip's axes are scaled to -1..1, and frames are picked, not interpolated.
    """

    task: ClassVar[str] = "clip"

    frames: int
    people: int
    parents: tuple[int, ...]
    weights: dict[str, float]
    window_s: float
    every_s: float
    scaled: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class MatcherManifest(Manifest):
    """Manifest of a matcher of features from files: TDSM as published, with its texts.

    Attributes:
        labels: of the texts. unseen: those to choose from by default, which it was not trained on.
        feature, tokens, text, pooled: width of a feature, and of a text's tokens, their features and the pooled one.
    """

    task: ClassVar[str] = "matcher"

    labels: tuple[str, ...]
    unseen: tuple[str, ...]
    feature: int
    tokens: int
    text: int
    pooled: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TextManifest(Manifest):
    """Manifest of a text encoder: features of `width` floats, texts of at most `max_tokens` tokens."""

    task: ClassVar[str] = "text"
    extra_files: ClassVar[tuple[str, ...]] = (TOKENIZER,)

    width: int
    max_tokens: int

    @property
    def is_clip(self) -> bool:
        """True for CLIP's text encoder, which cuts longer texts."""
        return bool(self.model.get("arch") == "clip")


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationManifest(Manifest):
    """Manifest of CoAMD's networks, which were trained together.

    Attributes:
        joints: V.
        qualities: kinds of capture that a motion can be requested in.
        layout, fps: of generated motion.
        sampler: recommended settings.
        guided: weight of the classifier-free guidance that the generator was trained to include; 0: none.
        objective: what the head predicts, "flow" or "ddpm".
        text, text_sha256: name and hash of the text encoder that they were trained with: a bundled one, or one in a
            folder of this name next to the bundle's.
        actions: training clips per action and capture quality.
    """

    task: ClassVar[str] = "generation"
    quantized: ClassVar[bool] = True

    joints: int
    qualities: tuple[str, ...]
    layout: str
    fps: float
    sampler: Sampling
    text_sha256: str
    actions: dict[str, dict[str, int]]
    guided: float = 0.0
    objective: str = "flow"
    text: str = "text"


def parse_manifest(raw: Mapping[str, Any], where: str) -> Manifest:
    """Check every field of a manifest.

    Args:
        raw: the JSON object.
        where: names the file in errors.
    Returns:
        A manifest of its task.
    Raises:
        BundleError: names the field, its value and what was expected.
    """
    top = Fields(raw, where)
    if top.get("schema") != SCHEMA or type(raw["schema"]) is not int:
        raise BundleError(f"{where}: schema {top.excerpt('schema')}, this version of motionrt reads schema {SCHEMA}")
    task = top.text("task")
    if task not in _PARSERS:
        raise BundleError(f"{where}: task {task!r}, expected one of {', '.join(_PARSERS)}")
    common = {
        "name": top.text("name"),
        "license": top.text("license"),
        "model": dict(top.mapping("model")),
        "graphs": {name: _graph(top.section("graphs").section(name)) for name in top.mapping("graphs")},
        "metrics": dict(top.mapping("metrics")),
        "files": {name: _file_entry(name, top.section("files"), where) for name in top.mapping("files")},
    }
    manifest = _PARSERS[task](top, common)
    _check_files(manifest, where)
    for text in _texts(raw):
        if CONTROLS.search(text):
            raise BundleError(f"{where}: {text[:80]!r} contains a control character")
    return manifest


def _texts(value: Any) -> Iterator[str]:
    """All texts and names of fields in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield key
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _recognition(
    top: Fields,
    common: dict[str, Any],
    kind: type[RecognitionManifest] = RecognitionManifest,
    known_sizes: Mapping[str, int] = MappingProxyType({}),
    **more: Any,
) -> RecognitionManifest:
    values: dict[str, dict[str, Any]] = {"": {}, "frontend": {}, "decision": {}, "model": {}}  # by section
    for path, rule in _RULES["recognition"].items():
        section, _, key = path.rpartition(".")
        fields = top.section(section) if section else top
        if fields.has(key) or not rule.get("optional"):
            values[section][key] = fields.read(key, rule)
    labels = values[""]["labels"]
    manifest = kind(
        **{**common, **values[""]},
        **values["model"],
        **more,
        frontend=Frontend(rate_hz=values[""]["fps"], **values["frontend"]),
        decision=Thresholds(**values["decision"]),
        joints=known_sizes["joints"] if "joints" in known_sizes else _joints(common["graphs"], top.where),
    )
    _check_labels(manifest, top.where)
    if kind is RecognitionManifest:
        alarms, known = _alarms(top.section("decision"), labels), _reliability(top, labels)
        manifest = replace(manifest, alarms=alarms, reliability=known)
    bones = manifest.frontend.bones
    if bones and len(bones) != manifest.joints:
        raise BundleError(
            f"{top.where}: frontend: bones: {len(bones)} numbers, expected one for each of {manifest.joints} joints"
        )
    sizes = {name: getattr(manifest, name) for name in ("joints", "state", "features")}
    sizes |= {"labels": len(manifest.labels), **known_sizes}
    names = [name for name in SIGNATURES[kind.task].graphs if name not in MATCHER_GRAPHS or "modulation" in sizes]
    _check_graphs(manifest, SIGNATURES[kind.task].resolve(sizes, names), top.where)
    return manifest


def _alarms(decision: Fields, labels: tuple[str, ...]) -> Alarms | None:
    if not decision.has("alarms"):
        return None
    fields = decision.section("alarms")
    rates = fields.read("per_minute", _RULES["alarms"]["per_minute"])
    if any(low >= high for low, high in pairwise(rates)):
        raise BundleError(f"{fields.where}: per_minute: {fields.excerpt('per_minute')}, expected rising numbers")
    on, off = (fields.probabilities(key, len(rates), len(labels)) for key in ("on", "off"))
    for b, c in product(range(len(rates)), range(len(labels))):
        if off[b][c] > on[b][c]:
            found = f"off {off[b][c]:g} is above on {on[b][c]:g} of label {labels[c]!r}"
            raise BundleError(f"{fields.where}: {found}")
        if b > 0 and on[b][c] > on[b - 1][c]:
            found = f"on {on[b][c]:g} follows {on[b - 1][c]:g} of label {labels[c]!r}"
            raise BundleError(f"{fields.where}: {found}, expected that it does not rise with per_minute")
    default = fields.read("default", _RULES["alarms"]["default"]) if fields.has("default") else None
    if default is not None and not rates[0] <= default <= rates[-1]:
        found = f"default: {default:g}, expected {rates[0]:g} to {rates[-1]:g}, the range of per_minute"
        raise BundleError(f"{fields.where}: {found}")
    return Alarms(per_minute=rates, on=on, off=off, default=default)


def _reliability(top: Fields, labels: tuple[str, ...]) -> dict[str, Reliability]:
    if not top.has("reliability"):
        return {}
    table = top.section("reliability")
    for label in top.mapping("reliability"):
        if label not in labels:
            raise BundleError(f"{table.where}: {label!r} is not one of the labels")
    rows = {label: table.section(label) for label in top.mapping("reliability")}
    return {
        label: Reliability(**{key: row.read(key, rule) for key, rule in _RULES["reliability"].items()})
        for label, row in rows.items()
    }


def _zero_shot(top: Fields, common: dict[str, Any]) -> RecognitionManifest:
    matching, sizes = top.section("matching"), matcher_sizes(top.section("model"))
    labels, space = _sentences(matching, "labels"), _space(top.section("model").section("matcher"))
    for name in MATCHER_GRAPHS if space is None else ():
        if name not in common["graphs"]:
            raise BundleError(f"{top.where}: graphs: {name} is missing")
    settings = Matching(
        labels=labels,
        background=_sentences(matching, "background"),
        scale=matching.number("scale", 0, 1e6),
        none=matching.number("none", -1e6, 1e6),
        prototype_scale=matching.number("prototype_scale", 0, 1e6),
        prototype_offset=matching.number("prototype_offset", -1e6, 1e6),
        window_s=matching.number("window_s", 0.01, 60),
        every_s=matching.number("every_s", 0.01, 60),
        encoder_sha256=matching.sha256("encoder_sha256"),
        text_sha256=matching.sha256("text_sha256"),
        aliases=_aliases(matching, labels) if matching.has("aliases") else {},
        new=matching.number("new", 0, 1e6) if matching.has("new") else 0.0,
        rivals=matching.number("rivals", -1, 1) if space and matching.has("rivals") else None,
    )
    return _recognition(top, common, ZeroShotManifest, sizes, matching=settings, matched=sizes["matched"], space=space)


def _aliases(matching: Fields, labels: Collection[str]) -> dict[str, str]:
    table = matching.section("aliases")
    names = {name: table.text(name) for name in matching.mapping("aliases")}
    for label in names.values():
        if label not in labels:
            raise BundleError(f"{table.where}: {label!r} is not one of the labels")
    return names


def _space(matcher: Fields) -> Space | None:
    if not matcher.has("parts"):
        return None
    parts, shares = matcher.integers("parts"), matcher.numbers("shares", 0, 1, MAX_LABELS)
    if not parts or len(parts) != len(shares) or not all(1 <= part <= MAX_SIZE for part in parts):
        raise BundleError(f"{matcher.where}: parts: {matcher.excerpt('parts')}, expected widths, one for each share")
    return Space(parts=tuple(parts), shares=shares)


def _compiled(top: Fields, common: dict[str, Any]) -> RecognitionManifest:
    return _recognition(top, common, CompiledManifest, {"joints": len(top.section("model").integers("parents"))})


def _clip(top: Fields, common: dict[str, Any]) -> RecognitionManifest:
    model = top.section("model")
    parents, weights = model.integers("parents"), model.section("weights")
    if not all(0 <= parent < len(parents) for parent in parents):
        raise BundleError(f"{model.where}: parents: {model.excerpt('parents')}, expected indices of joints")
    if not common["graphs"]:
        raise BundleError(f"{top.where}: graphs: none, expected {' or '.join(SIGNATURES[ClipManifest.task].graphs)}")
    sizes = {key: model.integer(key, 1, MAX_SIZE) for key in ("channels", "people", "frames")}
    return _recognition(
        top,
        common,
        ClipManifest,
        {"joints": len(parents), **sizes},
        frames=sizes["frames"],
        people=sizes["people"],
        parents=tuple(parents),
        weights={stream: weights.number(stream, 0, 1000) for stream in common["graphs"]},
        window_s=model.number("window_s", 0.1, 60),
        every_s=model.number("every_s", 0.01, 60),
        scaled=model.has("scaled") and model.boolean("scaled"),
    )


def _sentences(top: Fields, key: str) -> dict[str, dict[str, str]]:
    """Labels with their sentences; at least one label."""
    table, labels = top.section(key), {}
    for label, topics in top.mapping(key).items():
        sentences = table.section(label)
        if SLOTS[0] not in table.mapping(label) or not topics.keys() <= set(SLOTS):
            raise BundleError(f"{sentences.where}: expected sentences on {', '.join(SLOTS)}, at least the first")
        labels[label] = {slot: sentences.text(slot) for slot in topics}
    if not labels or len(labels) > MAX_LABELS or not all(labels):
        raise BundleError(f"{table.where}: expected 1 to {MAX_LABELS} labels")
    return labels


def _matcher(top: Fields, common: dict[str, Any]) -> MatcherManifest:
    model, labels, unseen = top.section("model"), top.texts("labels"), top.texts("unseen")
    sizes = {key: model.integer(key, 1, MAX_SIZE) for key in ("feature", "tokens", "text", "pooled")}
    for key, names in (("labels", labels), ("unseen", unseen)):
        if len(set(names)) < len(names):
            raise BundleError(f"{top.where}: {key}: a label occurs twice")
    if other := sorted(set(unseen) - set(labels)):
        raise BundleError(f"{top.where}: unseen: {other[0]!r} is not one of the labels")
    expected = SIGNATURES[MatcherManifest.task].resolve(sizes)
    if not common["graphs"]:
        raise BundleError(f"{top.where}: graphs: none, expected {', '.join(expected)}")
    manifest = MatcherManifest(**{**common, **sizes}, labels=labels, unseen=unseen)
    _check_graphs(manifest, expected, top.where)
    return manifest


def _text(top: Fields, common: dict[str, Any]) -> TextManifest:
    model = top.section("model")
    width, max_tokens = model.integer("width", 1, MAX_SIZE), model.integer("max_tokens", 3, MAX_SIZE)
    manifest = TextManifest(**common, width=width, max_tokens=max_tokens)
    expected = SIGNATURES[TextManifest.task].resolve({"width": width})
    if not manifest.graphs:
        raise BundleError(f"{top.where}: graphs: none, expected {', '.join(expected)}")
    _check_graphs(manifest, expected, top.where)
    return manifest


def _generation(top: Fields, common: dict[str, Any]) -> GenerationManifest:
    actions = top.section("actions")
    counts = {name: actions.section(name) for name in top.mapping("actions")}
    model, sampler = top.section("model"), top.section("sampler")
    sizes, generator = coamd_sizes(model), model.section("generator")
    expected = SIGNATURES[GenerationManifest.task].resolve(sizes)
    text = top.text("text") if top.has("text") else "text"
    check_file_name(text, top.where)
    manifest = GenerationManifest(
        **common,
        joints=sizes["joints"],
        qualities=top.texts("qualities"),
        layout=top.text("layout"),
        fps=top.number("fps", 1, 1000),
        sampler=Sampling(
            steps=sampler.integer("steps", 1, 1000),
            solver=sampler.choice("solver", tuple(STAGES)) if sampler.has("solver") else Sampling().solver,
            evaluations=sampler.integer("evaluations", 1, 1000),
            cfg=sampler.number("cfg", 0, 100),
            padding=sampler.choice("padding", PADDINGS) if sampler.has("padding") else PADDINGS[0],
        ),
        guided=top.number("guided", 0, 100) if top.has("guided") else 0.0,
        objective=generator.choice("objective", OBJECTIVES) if generator.has("objective") else OBJECTIVES[0],
        text=text,
        text_sha256=top.sha256("text_sha256"),
        actions={
            name: {quality: clips.integer(quality, 0, 1_000_000_000) for quality in actions.mapping(name)}
            for name, clips in counts.items()
        },
    )
    recognizer = model.section("recognizer")
    words = recognizer.choice("words", tuple(VARIANTS)) if recognizer.has("words") else "features"
    others = {name for kind, names in VARIANTS.items() if kind != words for name in names}
    for name in expected:
        if name not in manifest.graphs and name not in others and not name.endswith(INT8_SUFFIX):
            raise BundleError(f"{top.where}: graphs: {name} is missing")
    _check_graphs(manifest, expected, top.where)
    return manifest


_PARSERS: dict[str, Callable[[Fields, dict[str, Any]], Manifest]] = {
    RecognitionManifest.task: _recognition,
    ZeroShotManifest.task: _zero_shot,
    CompiledManifest.task: _compiled,
    ClipManifest.task: _clip,
    MatcherManifest.task: _matcher,
    TextManifest.task: _text,
    GenerationManifest.task: _generation,
}


def _check_labels(manifest: RecognitionManifest, where: str) -> None:
    if len(set(manifest.labels)) != len(manifest.labels):
        raise BundleError(f"{where}: labels: a label occurs twice")
    if manifest.none is not None and manifest.none not in manifest.labels:
        raise BundleError(f"{where}: none: {manifest.none!r} is not one of the labels")
    if len(manifest.labels) - (manifest.none is not None) < 1:
        raise BundleError(f"{where}: labels: no label other than {manifest.none!r}")
    if manifest.decision.off > manifest.decision.on:
        raise BundleError(f"{where}: decision: off {manifest.decision.off:g} is above on {manifest.decision.on:g}")


def _check_files(manifest: Manifest, where: str) -> None:
    for file in manifest.required_files:
        if file not in manifest.files:
            raise BundleError(f"{where}: {file!r} is not listed under files")
    if (total := sum(entry.size for entry in manifest.files.values())) > MAX_BYTES:
        raise BundleError(f"{where}: files of {total} bytes, the limit is {MAX_BYTES}")


def _joints(graphs: dict[str, Graph], where: str) -> int:
    """V, the second to last size of the step graph's input `frame`."""
    shape = graphs["step"].inputs.get("frame", ()) if "step" in graphs else ()
    if len(shape) != 3 or not isinstance(shape[1], int):
        raise BundleError(f"{where}: graphs: a step graph with an input frame [M, joints, 3] is needed")
    return shape[1]


def matcher_sizes(model: Fields) -> dict[str, int]:
    """Sizes of a matcher's graphs, from the manifest's `model`."""
    matcher = model.section("matcher")
    if matcher.has("parts"):
        return {"matched": matcher.integer("feature", 1, MAX_SIZE)}
    feature, text, width, depth = (matcher.integer(key, 1, MAX_SIZE) for key in ("feature", "text", "width", "depth"))
    if matcher.get("cross") is not True or matcher.get("tokens") != len(SLOTS):
        raise BundleError(f"{matcher.where}: expected a cross network of {len(SLOTS)} tokens")
    return {
        "matched": feature,
        "text": text,
        "slots": len(SLOTS),
        "token_modulation": 2 * depth * width,
        "modulation": (6 * depth + 2) * width,
    }


def coamd_sizes(model: Fields) -> dict[str, int]:
    """Sizes of the graphs of CoAMD's networks, from the manifest's `model`."""
    generator, recognizer = model.section("generator"), model.section("recognizer")
    width, depth = generator.integer("width", 1, MAX_SIZE), generator.integer("depth", 1, MAX_SIZE)
    head_width, head_depth = (generator.integer(key, 1, MAX_SIZE) for key in ("head_width", "head_depth"))
    return {
        "latent": generator.integer("latent", 1, MAX_SIZE),
        "text": generator.integer("text", 1, MAX_SIZE),
        "width": width,
        "trunk_modulation": 6 * width * depth,
        "head_modulation": (3 * head_depth + 2) * head_width,
        "features": recognizer.integer("feature", 1, MAX_SIZE),
        "word": recognizer.integer("text", 1, MAX_SIZE),
        "joints": len(recognizer.integers("parents")),
    }


def _check_graphs(manifest: Manifest, expected: dict[str, Tensors], where: str) -> None:
    for name, graph in manifest.graphs.items():
        if name not in expected:
            raise BundleError(f"{where}: graphs: unknown graph {name!r}, expected {' and '.join(expected)}")
        inputs, outputs = expected[name]
        for kind, actual, wanted in (("inputs", graph.inputs, inputs), ("outputs", graph.outputs, outputs)):
            if actual != wanted:
                raise BundleError(f"{where}: graphs.{name}.{kind}: {_shapes(actual)}, expected {_shapes(wanted)}")


def _shapes(tensors: dict[str, Shape]) -> str:
    return ", ".join(f"{name} [{', '.join(map(str, shape))}]" for name, shape in tensors.items()) or "nothing"


def _graph(fields: Fields) -> Graph:
    file = fields.text("file")
    check_file_name(file, fields.where)
    return Graph(file=file, inputs=_tensors(fields, "inputs"), outputs=_tensors(fields, "outputs"))


def _tensors(fields: Fields, key: str) -> dict[str, Shape]:
    tensors = fields.mapping(key)
    for name, shape in tensors.items():
        valid = isinstance(shape, list) and all(
            (type(size) is int and size > 0) or (isinstance(size, str) and size != "") for size in shape
        )
        if not valid:
            raise BundleError(f"{fields.where}.{key}.{name}: {shape!r}, expected a list of sizes or names of sizes")
    return {name: tuple(shape) for name, shape in tensors.items()}


def _file_entry(name: str, files: Fields, where: str) -> FileEntry:
    check_file_name(name, where)
    entry = files.section(name)
    return FileEntry(**{key: entry.read(key, rule) for key, rule in _RULES["file"].items()})


def check_file_name(name: str, where: str) -> None:
    """Raises BundleError unless the name is that of a visible file in the bundle's folder other than the manifest."""
    if not _FILE_NAME.fullmatch(name) or name.lower() == MANIFEST:
        raise BundleError(f"{where}: file name {name!r}, expected a plain name of letters, digits, '.', '_' and '-'")
