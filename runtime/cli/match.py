"""recognize with a matcher of features: the label of each row of a file."""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from ..errors import InputError, printable
from ..recognition.features import FeatureMatcher, read_features
from .license import print_license_notice
from .options import RecognizeOptions, RecognizeOutputs

TAKEN = ("model", "labels", "threads", "isolate", "as_json")
BATCH = 8  # features that are reported together


def run_match(names: Sequence[str], options: RecognizeOptions, outputs: RecognizeOutputs) -> None:
    """Print the label of each feature in each file, and its error, the mean squared one of the predicted noise."""
    pairs: list[tuple[Any, Any]] = [(options, RecognizeOptions()), (outputs, RecognizeOutputs())]
    for chosen, default in pairs:
        for field in fields(chosen):
            if field.name not in TAKEN and getattr(chosen, field.name) != getattr(default, field.name):
                option = field.name.replace("_", "-")
                raise InputError(f"--{option} is not for {options.model}, which takes features, .npy")
    matcher = FeatureMatcher.load(options.model, options.threads, options.isolate)
    labels = matcher.choose(None if options.labels is None else options.labels.split(","))
    for name in names:
        z_NF = read_features(Path(name), matcher.manifest.feature)
        for start in range(0, len(z_NF), BATCH):
            errors_BK = matcher.errors(z_NF[start : start + BATCH], labels)
            for row, error_K in enumerate(errors_BK.tolist(), start):
                errors = dict(sorted(zip(labels, error_K, strict=True), key=lambda pair: pair[1]))
                best, *others = errors.items()
                if outputs.as_json:
                    line = json.dumps({"source": name, "row": row, "label": best[0], "errors": errors})
                else:
                    behind = f", {others[0][0]} {others[0][1]:.4f}" if others else ""
                    line = f"{name} {row}: {best[0]} {best[1]:.4f}{behind}"
                typer.echo(printable(line))
    print_license_notice(matcher.bundle)
