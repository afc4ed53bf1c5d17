"""The child of `bundles.isolation`: `python -m motionrt.runtime.open_isolated BUNDLE BYTES SECONDS`.

Opens a bundle within limits and prints its hash, or why it cannot be opened, as a line of JSON.
"""

import json
import resource
import sys

from .errors import MotionError


def main(name: str, max_bytes: int, max_cpu_s: int) -> dict[str, str]:
    for limit, value in (
        (resource.RLIMIT_AS, max_bytes),
        (resource.RLIMIT_CPU, max_cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value + 1))
    try:
        return {"sha256": open_all(name)}
    except MotionError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": f"{name}: needs more than {max_bytes} bytes of memory"}
    except Exception as error:  # of ONNX Runtime, too, which have no common base class
        return {"error": f"{name}: cannot be run ({error})"}


def open_all(name: str) -> str:
    """Open a bundle as its task does, and run every graph on zeros; returns the bundle's hash."""
    import numpy as np  # within the limits, as all that follows

    from .backends.onnx_session import example_inputs, open_session
    from .bundles.bundle import Bundle
    from .bundles.schema import GenerationManifest, Manifest, MatcherManifest, RecognitionManifest
    from .generation.generator import Generator
    from .recognition.features import FeatureMatcher
    from .recognition.recognizer import Recognizer
    from .text_encoder import TextEncoder

    bundle = Bundle.load(name, Manifest)
    manifest = bundle.manifest
    for graph, about in manifest.graphs.items():
        inputs = example_inputs(manifest.task, graph, about)
        zeros = {key: np.zeros(tensor.shape, tensor.dtype) for key, tensor in inputs.items()}
        open_session(bundle, graph, 1).run(list(about.outputs), zeros)
    if isinstance(manifest, RecognitionManifest):
        Recognizer.load(name)
    elif isinstance(manifest, GenerationManifest):
        Generator.load(name)
    elif isinstance(manifest, MatcherManifest):
        FeatureMatcher.load(name)
    else:
        TextEncoder.load(name)
    return bundle.sha256


if __name__ == "__main__":
    path, limit_bytes, limit_s = sys.argv[1:]
    print(json.dumps(main(path, int(limit_bytes), int(limit_s))))
