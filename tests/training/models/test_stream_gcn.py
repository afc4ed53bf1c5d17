"""StreamGCN: a clip and its frames one by one are the same, and folding changes nothing."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor  # noqa: E402

from motionrt.runtime.body.frontend import Frontend, prepare  # noqa: E402
from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.bundles.bundle import Bundle  # noqa: E402
from motionrt.training.models.stream_gcn import (  # noqa: E402
    StreamGCN,
    StreamGCNConfig,
    adjacency,
    fold,
    from_weights,
    unfold,
)

LAYOUT = Layout.load("core15")
V = len(LAYOUT.joints)


def network(**changes: object) -> StreamGCN:
    """A small network whose batch-norms have seen data, so that folding has something to fold."""
    torch.manual_seed(0)
    settings = {"channels": (16, 24), "classes": 5, "fps": 20.0, "parents": LAYOUT.parents} | changes
    model = StreamGCN(StreamGCNConfig(**settings))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(3):
            model(torch.randn(4, 30, V, 3))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def clip(samples: list[Motion]) -> Tensor:
    """A real recording as network input, [1, T, V, 3]."""
    joints = np.einsum("vw,twc->tvc", LAYOUT.map_from(Layout.load(samples[0].layout)), samples[0].joints)
    return torch.from_numpy(prepare(joints, Frontend(rate_hz=20.0), LAYOUT))[None]


@pytest.mark.parametrize("changes", [{}, {"body": 20, "body_blocks": 2}], ids=["averaged", "joined"])
def test_single_frames_give_the_same_as_the_clip(clip: Tensor, changes: dict[str, int]) -> None:
    model = network(**changes)
    logits, features, state = model(clip)
    stepped, stream = [], model.new_state()
    for t in range(clip.shape[1]):
        *out, stream = model.step(clip[:, t], stream)
        stepped.append(out)
    torch.testing.assert_close(torch.stack([s[0] for s in stepped], 1), logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.stack([s[1] for s in stepped], 1), features, atol=1e-4, rtol=0)
    torch.testing.assert_close(stream, state, atol=1e-4, rtol=0)


def test_any_split_of_a_clip_gives_the_same(clip: Tensor) -> None:
    model = network()
    logits, _, _ = model(clip)
    first, _, state = model(clip[:, :7])
    rest, _, _ = model(clip[:, 7:], state)
    torch.testing.assert_close(torch.cat([first, rest], 1), logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("body", [0, 20])
def test_folding_changes_nothing(clip: Tensor, body: int) -> None:
    model = network(body=body, body_blocks=body // 10)
    folded = fold(model)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    for found, wanted in zip(folded(clip), model(clip), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("body", [0, 20])
def test_an_output_depends_only_on_past_frames_within_the_receptive_field(body: int) -> None:
    model = network(kernel=3, dilations=(1, 2), body=body, body_blocks=body // 10)
    R = model.receptive_field
    x = torch.randn(1, 3 * R, V, 3)
    changed = x.clone()
    changed[:, R] += 1
    touched = (model(x)[0] - model(changed)[0]).abs().amax((0, 2)) > 0
    assert not touched[:R].any() and not touched[2 * R :].any()
    assert touched[R] and touched[2 * R - 1]


def test_clips_do_not_depend_on_batch_mates() -> None:
    model = network()
    x = torch.randn(3, 20, V, 3)
    torch.testing.assert_close(model(x)[0][1:2], model(x[1:2])[0], atol=1e-5, rtol=1e-5)


def test_the_first_frame_has_no_motion() -> None:
    """A person who stands still from the first frame on looks the same in every frame but for the zeros before."""
    model = network(kernel=1, dilations=(1,), channels=(8, 8))
    still = torch.randn(1, 1, V, 3).expand(1, 5, -1, -1)
    logits, _, _ = model(still)
    torch.testing.assert_close(logits, logits[:, :1].expand_as(logits), atol=1e-5, rtol=1e-5)


def test_adjacency_subsets_are_self_parent_and_mean_of_children() -> None:
    A = adjacency((-1, 0, 0, 1))
    assert torch.equal(A[0], torch.eye(4))
    assert A[1].tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    assert A[2].tolist() == [[0, 0.5, 0.5, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_rings_give_the_same_as_the_state(clip: Tensor) -> None:
    model = fold(network())
    wanted, features, _ = model(clip)
    rings, T = model.new_rings(3), 25
    for t in range(T):
        # one stream shows the clip, one the same from its fourth frame on; the third is never stepped
        who = torch.tensor([2, 0] if t >= 3 else [2])
        frames = torch.cat([clip[:, t], clip[:, t - 3]])[: len(who)]
        logits, found = model.step_in_rings(frames, rings, who)
        torch.testing.assert_close(logits[0], wanted[0, t], atol=1e-4, rtol=0)
        torch.testing.assert_close(found[0], features[0, t], atol=1e-4, rtol=0)
        if t >= 3:
            torch.testing.assert_close(logits[1], wanted[0, t - 3], atol=1e-4, rtol=0)
    assert rings.place_S.tolist() == [T - 3, 0, T] and not rings.blocks[0][1].any()


@pytest.mark.parametrize("training", [False, True])
def test_a_bundles_network_starts_with_its_features_and_the_rows_of_known_labels(training: bool) -> None:
    bundle = Bundle.load("live")
    folded, old = from_weights(bundle.manifest.model, bundle.weights), bundle.manifest.labels
    new = ("greet", "wave", "none")
    model = unfold(folded, old, new).train(training)
    model.dropout.eval()
    frames = torch.randn(2, 30, folded.config.joints, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, features, _ = model(frames)
        wanted_logits, wanted_features, _ = folded(frames)
    torch.testing.assert_close(features, wanted_features, atol=1e-5, rtol=1e-5)
    known = [old.index("wave"), old.index("none")]
    torch.testing.assert_close(logits[..., 1:], wanted_logits[..., known], atol=1e-5, rtol=1e-5)
    again = fold(model)
    torch.testing.assert_close(again(frames)[1], wanted_features, atol=1e-5, rtol=1e-5)
