"""CLIP's text encoder as a bundle: the published weights in 32 bits.

OpenAI's code runs the tower in 16 bits on a GPU, which changes features by up to 6.6e-3.

Shapes: N texts, L tokens, D width, H heads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from ..runtime.bundles.bundle import Bundle, write_bundle
from ..runtime.bundles.safetensors import pack
from ..runtime.bundles.schema import SCHEMA, TOKENIZER, WEIGHTS, TextManifest
from ..runtime.bundles.signatures import manifest_graphs
from ..training.models.clip_text import BEGIN, END, ClipText
from .graphs import export_graph

SOURCE = "CLIP ViT-B/32, OpenAI"
LICENSE = "MIT"


class ClipLayer(nn.Module):
    """A pre-norm transformer layer with causal attention and the activation x sigmoid(1.702 x)."""

    def __init__(self, width: int, heads: int, epsilon: float):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_NLD: Tensor, bias_LL: Tensor) -> Tensor:
        N, L, D = x_NLD.shape
        q, k, v = self.qkv(self.norm1(x_NLD)).view(N, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(2, 3) * (D // self.heads) ** -0.5 + bias_LL
        x_NLD = x_NLD + self.project((scores.softmax(-1) @ v).transpose(1, 2).reshape(N, L, D))
        hidden = self.widen(self.norm2(x_NLD))
        return x_NLD + self.narrow(hidden * torch.sigmoid(1.702 * hidden))


class ClipTower(nn.Module):
    """The text tower, with the weights of `clip`.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 2.4.
    """

    def __init__(self, clip: ClipText):
        super().__init__()
        state, config = clip.network.state_dict(), clip.config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.places = nn.Parameter(torch.empty(config.context, config.width))
        sizes: Any = clip.network.config
        epsilon: float = sizes.layer_norm_eps
        self.layers = nn.ModuleList(ClipLayer(config.width, config.heads, epsilon) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, epsilon)
        self.out = nn.Linear(config.width, config.width, bias=False)
        weights = {
            "tokens.weight": state["text_model.embeddings.token_embedding.weight"],
            "places": state["text_model.embeddings.position_embedding.weight"],
            "out.weight": state["text_projection.weight"],
        }
        for kind in ("weight", "bias"):
            weights[f"norm.{kind}"] = state[f"text_model.final_layer_norm.{kind}"]
            for i in range(config.layers):
                ours, theirs = f"layers.{i}", f"text_model.encoder.layers.{i}"
                weights[f"{ours}.qkv.{kind}"] = torch.cat([state[f"{theirs}.self_attn.{x}_proj.{kind}"] for x in "qkv"])
                for part, name in (
                    ("project", "self_attn.out_proj"),
                    ("norm1", "layer_norm1"),
                    ("norm2", "layer_norm2"),
                    ("widen", "mlp.fc1"),
                    ("narrow", "mlp.fc2"),
                ):
                    weights[f"{ours}.{part}.{kind}"] = state[f"{theirs}.{name}.{kind}"]
        self.load_state_dict(weights)

    def forward(self, ids_NL: Tensor, mask_NL: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids and mask, int64 -> tokens [N, L, D], 0 where the mask is 0, and pooled [N, D], that of the last."""
        L = ids_NL.shape[1]
        x_NLD = self.tokens(ids_NL) + self.places[:L]
        place_L = torch.arange(L, device=ids_NL.device)
        bias_LL = (place_L[None] > place_L[:, None]).float() * torch.finfo(torch.float32).min
        for layer in self.layers:
            x_NLD = layer(x_NLD, bias_LL)
        x_NLD = self.norm(x_NLD) * mask_NL[..., None].float()
        last_NL1 = (place_L[None] == mask_NL.sum(1, keepdim=True) - 1)[..., None].float()
        return x_NLD, self.out((x_NLD * last_NL1).sum(1))


def export_clip(clip: ClipText, out: Path) -> Bundle[TextManifest]:
    """Write the bundle `out`, whose features are those of `clip`."""
    tower, config = ClipTower(clip).eval().requires_grad_(False), clip.config
    tokenizer = Tokenizer.from_str(clip.tokenizer.to_str())
    ends = [(token, tokenizer.token_to_id(token)) for token in (BEGIN, END)]
    tokenizer.post_processor = TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=ends)
    sizes, task = {"width": config.width}, TextManifest.task
    graph = export_graph(tower, tower.forward, task, "text", sizes, largest={"L": config.context})
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "name": out.name,
        "task": task,
        "license": LICENSE,
        "model": {
            "arch": "clip",
            "source": SOURCE,
            "source_sha256": clip.sha256,
            "width": config.width,
            "layers": config.layers,
            "heads": config.heads,
            "vocabulary": config.vocabulary,
            "max_tokens": config.context,
            "weights": "float32",
        },
        "graphs": manifest_graphs(task, sizes),
        "metrics": {},
    }
    files = {
        "text.onnx": graph,
        WEIGHTS: pack({name: tensor.numpy() for name, tensor in tower.state_dict().items()}),
        TOKENIZER: tokenizer.to_str().encode(),
        "MODEL_CARD.md": card(manifest).encode(),
    }
    return Bundle.load(write_bundle(out, manifest, files), TextManifest)


def card(manifest: dict[str, Any]) -> str:
    """The model card."""
    model = manifest["model"]
    return f"""# {manifest["name"]}

The text encoder of {model["source"]}: {model["layers"]} layers of width {model["width"]}. Texts of more than
{model["max_tokens"]} tokens are cut. Features are not normalized.

Weights and arithmetic are float32. OpenAI's code runs it in 16 bits on a GPU, whose features differ by up to 6.6e-3.

## License
{manifest["license"]}

## Limits
English texts. It was trained on captions of images.
"""
