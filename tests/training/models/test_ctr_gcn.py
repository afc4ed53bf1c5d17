"""CTR-GCN: the published sizes and names, and its formula in plain loops."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor  # noqa: E402

from motionrt.training.models.ctr_gcn import CTRGCN, NTU_PARENTS, CTRGCNConfig, TopologyConv, adjacency  # noqa: E402

CHAIN = (-1, 0, 1, 1)  # parents of a small skeleton


def small(**changes: object) -> CTRGCN:
    """A network of three units in which every parameter and statistic counts."""
    torch.manual_seed(0)
    settings = {"classes": 5, "parents": CHAIN, "channels": (16, 16, 32)} | changes
    model = CTRGCN(CTRGCNConfig(**settings))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand_like(tensor))
            assert tensor.is_floating_point() or name.endswith("num_batches_tracked")
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("classes, parameters", [(60, 1_446_672), (120, 1_462_092)])
def test_it_has_the_published_number_of_parameters(classes: int, parameters: int) -> None:
    assert sum(p.numel() for p in CTRGCN(CTRGCNConfig(classes=classes)).parameters()) == parameters


def test_its_tensors_are_named_as_in_official_checkpoints() -> None:
    def of(kind: str) -> list[str]:
        own = {"conv": ["weight", "bias"], "bn": ["weight", "bias", "running_mean", "running_var"]}
        return own[kind] + (["num_batches_tracked"] if kind == "bn" else [])

    modules = {"data_bn": "bn", "fc": "conv"}
    plain = []
    for k in range(1, 11):
        gcn, tcn = f"l{k}.gcn1", f"l{k}.tcn1.branches"
        plain += [f"{gcn}.PA", f"{gcn}.alpha"]
        modules |= {f"{gcn}.convs.{i}.conv{j}": "conv" for i in range(3) for j in range(1, 5)}
        modules[f"{gcn}.bn"] = "bn"
        if k in (1, 5, 8):
            modules |= {f"{gcn}.down.0": "conv", f"{gcn}.down.1": "bn"}
        for branch in (0, 1):
            modules |= {f"{tcn}.{branch}.0": "conv", f"{tcn}.{branch}.1": "bn"}
            modules |= {f"{tcn}.{branch}.3.conv": "conv", f"{tcn}.{branch}.3.bn": "bn"}
        modules |= {f"{tcn}.2.0": "conv", f"{tcn}.2.1": "bn", f"{tcn}.2.4": "bn"}
        modules |= {f"{tcn}.3.0": "conv", f"{tcn}.3.1": "bn"}
        if k in (5, 8):
            modules |= {f"l{k}.residual.conv": "conv", f"l{k}.residual.bn": "bn"}
    wanted = {*plain, *(f"{module}.{name}" for module, kind in modules.items() for name in of(kind))}
    state = CTRGCN(CTRGCNConfig(classes=60)).state_dict()
    assert set(state) == wanted
    assert state["l1.gcn1.PA"].shape == (3, 25, 25) and state["l1.gcn1.alpha"].shape == (1,)
    assert state["data_bn.weight"].shape == (150,)
    assert state["l1.gcn1.convs.0.conv1.weight"].shape == (8, 3, 1, 1)
    assert state["l8.gcn1.convs.0.conv1.weight"].shape == (16, 128, 1, 1)
    assert state["l5.tcn1.branches.1.3.conv.weight"].shape == (32, 32, 5, 1)


def test_clips_become_logits_and_the_frame_rate_is_halved_twice() -> None:
    model, lengths = CTRGCN(CTRGCNConfig(classes=60)).eval(), {}
    for name, unit in model.named_children():
        unit.register_forward_hook(lambda module, arguments, out, name=name: lengths.update({name: tuple(out.shape)}))
    with torch.inference_mode():
        logits = model(torch.randn(3, 3, 64, 25, 2))
    assert logits.shape == (3, 60)
    assert [lengths[f"l{k}"] for k in (1, 4, 5, 7, 8, 10)] == [
        (6, 64, 64, 25),
        (6, 64, 64, 25),
        (6, 128, 32, 25),
        (6, 128, 32, 25),
        (6, 256, 16, 25),
        (6, 256, 16, 25),
    ]


def test_the_refined_graph_convolution_is_its_formula() -> None:
    torch.manual_seed(0)
    C, C_out, T, V, alpha = 16, 6, 5, 4, 0.7
    conv = TopologyConv(C, C_out).requires_grad_(False)
    x, A = torch.randn(2, C, T, V), torch.randn(V, V)
    found = conv(x, A, torch.tensor([alpha])).numpy()
    state = {name: tensor.squeeze().numpy() for name, tensor in conv.state_dict().items()}

    def at(name: str, column: np.ndarray) -> np.ndarray:
        return state[f"{name}.weight"] @ column + state[f"{name}.bias"]

    for n, pose in enumerate(x.numpy()):
        a = [np.mean([at("conv1", pose[:, t, u]) for t in range(T)], 0) for u in range(V)]
        b = [np.mean([at("conv2", pose[:, t, v]) for t in range(T)], 0) for v in range(V)]
        for t in range(T):
            for u in range(V):
                wanted = np.zeros(C_out)
                for v in range(V):
                    refined = alpha * at("conv4", np.tanh(a[u] - b[v])) + A[u, v].item()
                    wanted += refined * at("conv3", pose[:, t, v])
                np.testing.assert_allclose(found[n, :, t, u], wanted, rtol=1e-4, atol=1e-5)


def test_people_are_averaged_and_do_not_see_each_other() -> None:
    model = small()
    a, b, c = torch.randn(3, 1, 3, 16, 4)
    nobody = torch.zeros_like(a)

    def logits(*people: Tensor) -> Tensor:
        return model(torch.stack(people, -1))

    torch.testing.assert_close(logits(a, c) - logits(b, c), logits(a, nobody) - logits(b, nobody), rtol=1e-3, atol=1e-4)
    assert (logits(a, c) - logits(b, c)).abs().max() > 1e-2


def test_clips_do_not_depend_on_batch_mates() -> None:
    model, x = small(), torch.randn(4, 3, 12, 4, 2)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    model = small().train().requires_grad_(True)
    model(torch.randn(4, 3, 12, 4, 2)).square().sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_a_new_units_graph_convolution_is_its_shortcut() -> None:
    torch.manual_seed(0)
    model = CTRGCN(CTRGCNConfig(classes=5, parents=CHAIN, channels=(16, 16))).eval()
    x = torch.randn(1, 16, 8, 4)
    torch.testing.assert_close(model.get_submodule("l2.gcn1")(x), torch.relu(x), rtol=0, atol=1e-4)


def test_the_skeleton_is_one_tree_and_its_subsets_are_normalized() -> None:
    assert len(NTU_PARENTS) == 25 and NTU_PARENTS.count(-1) == 1
    for joint in range(25):
        path = [joint]
        while NTU_PARENTS[path[-1]] >= 0:
            path.append(NTU_PARENTS[path[-1]])
            assert len(path) <= 25, "a cycle"
        assert path[-1] == 20, "the upper spine"
    own, inward, outward = adjacency(CHAIN)
    assert own.equal(torch.eye(4))
    assert inward.tolist() == [[0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], "from a joint to its parent"
    assert outward.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0.5, 0, 0], [0, 0.5, 0, 0]]
