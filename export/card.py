"""The model card of a recognition bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def model_card(
    manifest: dict[str, Any],
    weight_bytes: int,
    picture: str | None,
    notes: str = "",
    sets: Sequence[dict[str, Any]] = (),
) -> str:
    """Markdown card: architecture, labels, measurements, data, license and limits.

    Args:
        notes: an additional section.
        sets: "clips" trained on and "terms" of each data set.
    """
    model, labels = manifest["model"], manifest["labels"]
    metrics = manifest["metrics"].get("validation", {})
    measured = "".join(f"- {name}: {metrics[name]:.1f} %\n" for name in ("top1", "macro_top1") if name in metrics)
    rows = "".join(f"| {found['terms']} | {found['clips']} |\n" for found in sets)
    data = f"## Trained on\n| data set: its terms | clips |\n|---|---|\n{rows}\n" if rows else ""
    joined = f", then {model['body']} of the whole body in {model['body_blocks']} layers"
    body = joined if model.get("body") else ""
    return f"""# {manifest["name"]}

A streaming action recognizer (StreamGCN): skeletons in layout `{manifest["layout"]}` at {manifest["fps"]:g} frames a
second in, {len(labels)} labels out. It is causal: it never waits for future frames (delay {model["delay"]}), and it
remembers {model["receptive_field"]} frames ({model["receptive_field"] / manifest["fps"]:.1f} s).

- Channels {", ".join(map(str, model["channels"]))}{body}; {weight_bytes / 4 / 1e3:.0f} k parameters,
  {weight_bytes / 2**20:.1f} MiB in fp32.
- Labels: {", ".join(labels)}.

## Validation clips, at the end of training
The action with the highest mean probability over a clip; `motionrt eval` also counts a clip told as `none` as wrong.

{measured or "None were held out." + chr(10)}{f"{chr(10)}![Confusion matrix]({picture}){chr(10)}" if picture else ""}
{notes}{data}## License
{manifest["license"]}

## Limits
It was trained on whole bodies seen mostly from the front by depth cameras, and on motion capture. It has not been
tested on children, on people who use wheelchairs or walking aids, or from above. An action outside its labels can be
recognized as one of them. It must not be the only safeguard where a mistake can cause harm.
"""
