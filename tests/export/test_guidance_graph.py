"""The bundled gradient matches autograd on real prompts, computed where torch cannot be imported."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from motionrt.runtime.generation.generator import Generator, Request  # noqa: E402
from motionrt.runtime.text_encoder import TextEncoder  # noqa: E402
from motionrt.training.coamd.guidance import reward_of  # noqa: E402
from motionrt.training.coamd.pipeline import CoamdPipeline  # noqa: E402

PROMPTS = ("a person waves with the right hand", "somebody bows slowly", "a man runs forward and turns left")
ALONE = """
import sys
sys.modules["torch"] = None
import numpy as np
from motionrt.runtime.bundles.bundle import Bundle
from motionrt.runtime.generation.open_networks import open_networks
from motionrt.runtime.bundles.schema import GenerationManifest

inputs = np.load(sys.argv[1])
networks = open_networks(Bundle.load("default", GenerationManifest), 1)
gradient, reward = networks.run("guide", inputs["tokens"], inputs["counts"], inputs["target"])
np.savez(sys.argv[2], gradient=gradient, reward=reward)
"""


def test_the_bundled_gradient_is_as_exact_as_autograd_without_torch(tmp_path: Path) -> None:
    """Its error against double precision is at most twice that of autograd in single precision."""
    generator = Generator.load("default", precision="fp32")
    pipeline = CoamdPipeline.load("default", TextEncoder.load("text"))
    counts = [49, 30, 12]
    requests = [Request(text, 0, generator.settings, "mocap") for text in PROMPTS]
    tokens = generator._networks.sample(generator._conditions(requests), counts, generator.settings)
    target = pipeline._describe(PROMPTS)

    def autograd(dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
        leaf = torch.from_numpy(tokens).to(dtype).requires_grad_()
        networks = pipeline.autoencoder.to(dtype), pipeline.recognizer.to(dtype)
        with torch.enable_grad():
            reward = reward_of(*networks, target.to(dtype))(leaf, torch.tensor(counts))
            (gradient,) = torch.autograd.grad(reward.sum(), leaf)
        return gradient.numpy(), reward.detach().numpy()

    single, _ = autograd(torch.float32)
    exact, reward = autograd(torch.float64)
    inputs, made = tmp_path / "inputs.npz", tmp_path / "made.npz"
    np.savez(inputs, tokens=tokens, counts=np.array(counts), target=target.numpy())
    done = subprocess.run([sys.executable, "-c", ALONE, str(inputs), str(made)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(made)
    for b, count in enumerate(counts):
        error, reference = (np.abs(gradient[b] - exact[b]).max() for gradient in (found["gradient"], single))
        assert error <= 2 * reference <= 1e-4 * np.abs(exact[b]).max()
        assert np.abs(exact[b]).max() > 1e-6 and not found["gradient"][b, count:].any()
    assert np.abs(found["reward"] - reward).max() < 1e-5
