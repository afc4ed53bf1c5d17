"""CoAMD's networks: published parameter counts, independence of the batch, and their parts."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

from motionrt.training.models.coamd import (  # noqa: E402
    SIZES,
    AutoEncoder,
    AutoEncoderConfig,
    GeneratorConfig,
    LengthEstimator,
    MotionGenerator,
    MotionRecognizer,
    MotionRecognizerConfig,
)
from motionrt.training.models.coamd.autoencoder import Conv, repeat_frames  # noqa: E402
from motionrt.training.models.coamd.layers import positions  # noqa: E402
from motionrt.training.models.coamd.recognizer import run_layers  # noqa: E402
from motionrt.training.models.coamd.views import KIT21, KIT21_REFERENCE, SMPL22, bones, motion  # noqa: E402


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture
def xl() -> torch.device:
    return torch.device("meta")


def test_the_published_sizes_have_the_published_parameters(xl: torch.device) -> None:
    size = SIZES["xl"]
    with xl:
        assert count_parameters(AutoEncoder(size.autoencoder)) == 19_035_202
        assert count_parameters(AutoEncoder(AutoEncoderConfig(parents=KIT21))) == 19_016_767
        generator = MotionGenerator(size.generator)
        assert count_parameters(generator.head) == 270_875_648
        assert count_parameters(generator) == 385_265_152
        assert count_parameters(MotionRecognizer(size.recognizer)) == 95_757_312


@pytest.mark.parametrize(("depth", "millions"), [(1, 290.8), (8, 423.0)])
def test_a_trunk_block_has_the_published_parameters(xl: torch.device, depth: int, millions: float) -> None:
    with xl:
        generator = MotionGenerator(GeneratorConfig(depth=depth))
    assert round(count_parameters(generator) / 1e6, 1) == millions
    assert count_parameters(generator.blocks[0]) == 18_889_728


def test_the_bundled_size_is_small(xl: torch.device) -> None:
    size = SIZES["small"]
    with xl:
        networks = AutoEncoder(size.autoencoder), MotionGenerator(size.generator), MotionRecognizer(size.recognizer)
    assert sum(count_parameters(network) for network in networks) < 10e6


@pytest.mark.parametrize("parents", [SMPL22, KIT21])
def test_the_skeletons_are_trees(parents: tuple[int, ...]) -> None:
    (root,) = [joint for joint, parent in enumerate(parents) if joint == parent]
    for joint in range(len(parents)):
        visited = []
        while joint != root:
            assert joint not in visited
            visited.append(joint)
            joint = parents[joint]


def test_the_released_kit_table_is_kept_with_its_cycle() -> None:
    assert KIT21_REFERENCE[3] == 4 and KIT21_REFERENCE[4] == 3
    assert KIT21_REFERENCE[17] == 10 and KIT21[17] == 16


def test_bones_and_motion_of_known_joints() -> None:
    x = torch.arange(2 * 3 * 6, dtype=torch.float32).reshape(2, 3, 6)
    found = bones(x, torch.tensor([1, 1]))
    torch.testing.assert_close(found[..., :3], x[..., :3] - x[..., 3:])
    assert not found[..., 3:].any(), "the root has no bone"
    assert not motion(x)[:, 0].any()
    torch.testing.assert_close(motion(x)[:, 1:], x[:, 1:] - x[:, :-1])


@pytest.mark.parametrize("settings", [(3, 1, 1, 1), (3, 1, 9, 9), (4, 2, 1, 1), (1, 1, 0, 1)])
def test_a_convolution_by_taps_equals_conv1d(settings: tuple[int, int, int, int]) -> None:
    kernel, stride, padding, dilation = settings
    torch.manual_seed(0)
    conv = Conv(5, 7, kernel, stride=stride, padding=padding, dilation=dilation)
    x = torch.randn(2, 24, 5)
    wanted = nn.functional.conv1d(x.mT, conv.weight, conv.bias, stride, padding, dilation).mT
    torch.testing.assert_close(conv(x), wanted)


def test_repeat_frames_equals_nearest_interpolation() -> None:
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(repeat_frames(x), nn.functional.interpolate(x.mT, scale_factor=2, mode="nearest").mT)


def test_positions_interleave_sines_and_cosines() -> None:
    table = positions(50, 8)
    assert torch.equal(table[0], torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1]))
    torch.testing.assert_close(table[:, 2], torch.sin(torch.arange(50) * 10000 ** (-2 / 8)))


@pytest.fixture
def autoencoder() -> AutoEncoder:
    torch.manual_seed(0)
    return AutoEncoder(AutoEncoderConfig(width=16, latent=8)).eval()


@torch.no_grad()
def test_tokens_and_motions_do_not_depend_on_the_batch(autoencoder: AutoEncoder) -> None:
    x, lengths = torch.randn(3, 64, 66), torch.tensor([20, 64, 8])
    tokens = autoencoder.encode(x, lengths)
    decoded = autoencoder.decode(tokens, lengths)
    assert tokens.shape == (3, 16, 8) and decoded.shape == x.shape
    for i, n in enumerate(lengths.tolist()):
        alone = autoencoder.encode(x[i : i + 1, :n], lengths[i : i + 1])
        torch.testing.assert_close(tokens[i : i + 1, : n // 4], alone, atol=1e-5, rtol=1e-5)
        alone = autoencoder.decode(alone, lengths[i : i + 1])
        torch.testing.assert_close(decoded[i : i + 1, :n], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_lengths_padding_takes_part_as_released(autoencoder: AutoEncoder) -> None:
    x = torch.randn(1, 20, 66)
    padded = nn.functional.pad(x, (0, 0, 0, 44))
    whole = torch.tensor([20])
    torch.testing.assert_close(autoencoder.encode(x), autoencoder.encode(x, whole))
    assert not torch.allclose(autoencoder.encode(padded)[:, :5], autoencoder.encode(x, whole), atol=1e-4)


@torch.no_grad()
def test_tokens_are_normalized_by_shift_and_scale(autoencoder: AutoEncoder) -> None:
    x = torch.randn(1, 16, 66)
    plain, decoded = autoencoder.encode(x), autoencoder(x)
    autoencoder.shift.fill_(3.0)
    autoencoder.scale.fill_(2.0)
    torch.testing.assert_close(autoencoder.encode(x), (plain - 3) / 2)
    torch.testing.assert_close(autoencoder(x), decoded, atol=1e-5, rtol=1e-5)


@pytest.fixture
def recognizer() -> MotionRecognizer:
    torch.manual_seed(0)
    config = MotionRecognizerConfig(
        patch=4, width=16, depth=2, heads=2, hidden=8, feature=12, words="features", text=10, timestep=False
    )
    return MotionRecognizer(config).eval()


@torch.no_grad()
def test_features_do_not_depend_on_padding_or_its_content(recognizer: MotionRecognizer) -> None:
    x, lengths = torch.randn(2, 32, 66), torch.tensor([12, 32])
    found = recognizer.encode(x, lengths)
    alone = recognizer.encode(x[:1, :12], lengths[:1])
    x[0, 12:] = 1e3
    refilled = recognizer.encode(x, lengths)
    for one, unpadded, other in zip(found, alone, refilled, strict=True):
        torch.testing.assert_close(one[:1], unpadded, atol=1e-5, rtol=1e-5)
        assert torch.equal(one, other)


@torch.no_grad()
@torch.no_grad()
def test_stacked_weights_give_the_same_features(recognizer: MotionRecognizer) -> None:
    x_BTC, lengths_B = torch.randn(2, 16, 66), torch.tensor([16, 9])
    wanted = recognizer.encode(x_BTC, lengths_B)
    with torch.autocast("cpu", torch.bfloat16):
        half = recognizer.encode(x_BTC, lengths_B)
    recognizer.stack()
    torch.testing.assert_close(recognizer.encode(x_BTC, lengths_B), wanted, atol=0, rtol=0)
    layer = recognizer.bone.layers[0].get_submodule("linear1")
    layer.get_parameter("weight").zero_()
    assert not torch.equal(recognizer.encode(x_BTC, lengths_B).bone, wanted.bone), "parameters are parts of the stacks"
    with torch.autocast("cpu", torch.bfloat16):
        changed = recognizer.encode(x_BTC, lengths_B)
        recognizer.stack(torch.bfloat16)
        torch.testing.assert_close(recognizer.encode(x_BTC, lengths_B), changed, atol=0, rtol=0)
    assert not torch.equal(changed.bone, half.bone) and torch.equal(changed.joint, half.joint)


def test_a_description_does_not_depend_on_longer_ones(recognizer: MotionRecognizer) -> None:
    words, mask = torch.randn(2, 7, 10), torch.ones(2, 7, dtype=torch.bool)
    mask[0, 3:] = False
    found = recognizer.describe(words, mask)
    alone = recognizer.describe(words[:1, :3], mask[:1, :3])
    torch.testing.assert_close(found[:1], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_stacked_towers_equal_pytorchs_encoders() -> None:
    torch.manual_seed(0)
    mine = MotionRecognizer(MotionRecognizerConfig(width=16, depth=2, heads=4, hidden=24, feature=16)).eval()
    towers = [mine.joint, mine.bone]
    x, valid = torch.randn(2, 2, 6, 16), torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    found, first = run_layers(towers, x, valid), run_layers(towers, x, valid, first=True)
    assert first.shape == (2, 2, 1, 16)
    for s, tower in enumerate(towers):
        layer = nn.TransformerEncoderLayer(16, 4, 24, activation="gelu", batch_first=True)
        theirs = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
        theirs.layers.load_state_dict(tower.layers.state_dict())
        wanted = theirs(x[s], src_key_padding_mask=~valid)
        torch.testing.assert_close(found[s, :, :4], wanted[:, :4])
        torch.testing.assert_close(first[s], wanted[:, :1])


@torch.no_grad()
def test_clip_text_features_come_from_the_end_marker() -> None:
    torch.manual_seed(0)
    config = MotionRecognizerConfig(width=16, depth=1, heads=2, hidden=8, feature=16)
    tower = MotionRecognizer(config).text.eval()
    ids = torch.zeros(2, 77, dtype=torch.long)
    ids[0, 5], ids[1, 9] = 49407, 49407
    states = run_layers([tower], (tower.tokens(ids) + tower.places)[None], None)[0]
    torch.testing.assert_close(tower(ids)[1], tower.out(tower.norm(states[1, 9])))


def small(**changes: object) -> MotionGenerator:
    torch.manual_seed(0)
    settings: dict[str, object] = {"latent": 6, "text": 10, "width": 16, "depth": 2, "heads": 2}
    config = GeneratorConfig(**(settings | {"head_width": 12, "head_depth": 2} | changes))  # type: ignore[arg-type]
    return MotionGenerator(config).eval()


@torch.no_grad()
def test_a_new_generator_is_the_identity_around_closed_gates() -> None:
    generator = small()
    tokens, valid = torch.randn(2, 5, 6), torch.ones(2, 5, dtype=torch.bool)
    z = generator.trunk(tokens, generator.modulations(generator.condition(torch.randn(2, 10))), valid)
    torch.testing.assert_close(z, generator.embed(tokens) + positions(5, 16))
    assert not generator.head(torch.randn(4, 6), torch.rand(4), torch.randn(4, 16)).any()


@torch.no_grad()
def test_one_time_is_broadcast_to_all_tokens() -> None:
    head = small().head
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, z = torch.randn(4, 6), torch.randn(4, 16)
    torch.testing.assert_close(head(x, torch.tensor([0.3]), z), head(x, torch.full((4,), 0.3), z))


@torch.no_grad()
def test_text_is_standardized_and_no_text_stays_zero() -> None:
    generator = small()
    text = torch.randn(2, 10)
    plain, none = generator.condition(text), generator.condition(torch.zeros(2, 10))
    generator.text_mean.fill_(2.0)
    generator.text_std.fill_(0.5)
    torch.testing.assert_close(generator.condition(0.5 * text + 2), plain)
    torch.testing.assert_close(generator.condition(torch.zeros(2, 10)), none)


@torch.no_grad()
def test_the_quality_changes_the_condition() -> None:
    generator = small(qualities=2)
    text = torch.randn(1, 10)
    mocap, kinect = (generator.condition(text, torch.tensor([quality])) for quality in range(2))
    assert not torch.equal(mocap, kinect)
    torch.testing.assert_close(kinect - mocap, (generator.quality.weight[1] - generator.quality.weight[0])[None])


def test_lengths_are_estimated_from_text() -> None:
    assert LengthEstimator(384)(torch.randn(3, 384)).shape == (3, 50)
    estimator, text_BW = LengthEstimator(384, qualities=2).eval(), torch.randn(2, 384)
    assert not torch.equal(*(estimator(text_BW, torch.tensor([q, q])) for q in (0, 1)))
