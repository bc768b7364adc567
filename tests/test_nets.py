"""Networks: sizes of the literature, shapes, gradients and clear refusals."""

import itertools

import numpy as np
import pytest
import torch

from codivide import NoisyLabelClassifier
from codivide.core.errors import InputError
from codivide.data.arrays import array_rows
from codivide.runs.model import Model
from codivide.training import nets
from codivide.training.timm_names import Expected, expected

SHAPES = [(3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 64, 32)]
HEAVY = ("mentornet_resnet101", "densenet_bc_190", "resnext101_32x4d")
#: The same code with greater numbers: the one that is tried instead. Their sizes are checked above all the same.
GREATER = {"wrn_28_10": "wrn_28_2", "resnet101": "resnet50", "resnext101_64x4d": "resnext101_32x4d"}
LIGHT = tuple(name for name in nets.NETS if name not in (*HEAVY, *GREATER))


@pytest.mark.parametrize(
    ("name", "classes", "published"),
    [
        ("preact_resnet18", 10, 11_171_146),  # 11.17 M
        ("preact_resnet32", 10, 1_861_162),  # net.py of joint optimization, counted by hand
        ("cnn9", 10, 4_434_570),  # model.py of Co-teaching, counted by hand
        ("wrn_28_10", 10, 36_479_194),  # 36.5 M
        ("densenet_bc_190", 10, 25_624_430),  # 25.6 M
        ("resnet18", 10, 11_173_962),  # 11.17 M
        ("resnet34", 10, 21_282_122),  # 21.28 M
        ("wrn_28_2", 10, 1_467_610),  # 1.47 M
        ("resnet50", 1000, 25_557_032),
        ("resnet101", 1000, 44_549_160),
        ("resnext101_64x4d", 1000, 83_455_272),
    ],
)
def test_number_of_parameters(name, classes, published):
    with torch.device("meta"):
        net = nets.NETS[name]((3, 32, 32), classes, 0.0)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(published, rel=1e-4)


def check(name: str, shape: tuple[int, ...]) -> None:
    """Two samples in training mode: logits, a gradient in every parameter, and a repeatable evaluation."""
    torch.manual_seed(0)
    net = nets.build(name, shape, 5)
    x = torch.randn(2, *shape)
    logits = net(x)
    assert logits.shape == (2, 5)
    assert logits.dtype == torch.float32
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    missing = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing
    net.eval()
    with torch.no_grad():
        seen = net(x)
        assert torch.equal(net(x), seen)
        latent = net.stages[1:](net.stages[:1](x))
        assert torch.equal(net.head(net.pool(latent)).float(), seen)
        assert torch.equal(net.pool(latent), net.features(x))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LIGHT)
def test_light_nets(name, shape):
    check(name, shape)


@pytest.mark.long
@pytest.mark.parametrize("name", [*HEAVY, *(pytest.param(name, marks=pytest.mark.slow) for name in GREATER)])
def test_heavy_nets(name):
    # The ImageNet stems leave 1 pixel of 8, and batch normalisation of 2 values a hundred times over overflows.
    check(name, (1, 32, 32) if name.startswith("resne") else (1, 8, 8))


@pytest.mark.parametrize(("size", "after"), [((32, 32), (15, 15)), ((224, 224), (14, 14)), ((8, 200), (1, 13))])
def test_airbench_takes_any_size_and_its_groups_halve(size, after):
    net = nets.build("airbench", (3, *size), 5)
    sizes, x = [], torch.randn(2, 3, *size)
    for stage in net.stages:
        x = stage(x)
        sizes.append(tuple(x.shape[2:]))
    assert sizes[0] == after
    for one, two in itertools.pairwise(sizes):
        assert all(abs(half - side / 2) <= 0.5 for side, half in zip(one, two, strict=True))
    check("airbench", (3, *size))


@pytest.mark.parametrize("width", [1, 64, 20_000])
def test_mlp_on_features(width):
    check("mlp", (width,))


@pytest.mark.parametrize(("size", "after"), [(8, 8), (16, 16), (32, 16), (64, 32), (96, 24), (224, 28), (500, 31)])
def test_small_cnn_stem_bounds_the_cost(size, after):
    net = nets.build("small_cnn", (3, size, size), 5)
    assert net.stages[0](torch.zeros(2, 3, size, size)).shape[2] == after


def test_the_blocks_of_the_tables_and_of_tanaka_differ_in_their_identity_shortcuts():
    """``preact_resnet18``: conv(...) + relu(bn1(x)); ``preact_resnet32``: conv(...) + x; else alike."""
    for name, carries_active in (("preact_resnet18", True), ("preact_resnet32", False)):
        net = nets.build(name, (3, 32, 32), 10).eval()
        first, second, *_ = net.stages[2]
        x, y = torch.randn(2, first.conv1.in_channels, 8, 8), torch.randn(2, second.conv1.in_channels, 8, 8)
        active = torch.relu(second.norm1(y))
        branch = second.conv2(torch.relu(second.norm2(second.conv1(active))))
        torch.testing.assert_close(second(y), branch + (active if carries_active else y))
        active = torch.relu(first.norm1(x))
        branch = first.conv2(torch.relu(first.norm2(first.conv1(active))))
        torch.testing.assert_close(first(x), branch + first.shortcut(active))
    tanaka = nets.build("preact_resnet32", (3, 32, 32), 10)
    assert tanaka.stages[1][0].shortcut.weight.shape == (32, 32, 1, 1)  # though 32 channels stay 32
    assert nets.build("preact_resnet18", (3, 32, 32), 10).stages[1][0].shortcut is None


@pytest.mark.parametrize(
    ("name", "fan", "head"),
    [
        ("preact_resnet32", 1, lambda width: 1 / width),  # Chainer: He normal by fan-in, LeCun normal
        ("wrn_28_2", 0, lambda width: 2 / (width + 10)),  # TensorFlow: sqrt(2 / (k k out)), Glorot normal
        ("mentornet_resnet101", 0, lambda width: 1 / width),  # the same, and a unit scaling
    ],
)
def test_weights_are_drawn_as_in_the_published_code(name, fan, head):
    torch.manual_seed(0)
    net = nets.build(name, (3, 8, 8), 10)
    kernels = [part.weight for part in net.modules() if isinstance(part, torch.nn.Conv2d)]
    scaled = [w.detach().flatten() / (2 / (w.shape[fan] * w.shape[2] * w.shape[3])) ** 0.5 for w in kernels]
    assert abs(torch.cat(scaled).std().item() - 1) < 0.003  # a slope of 0.1 that counted would give 0.995
    last = net.head[-1]
    assert last.weight.var().item() == pytest.approx(head(last.in_features), rel=0.15)
    assert not last.bias.any()


def test_dropout_of_the_blocks_is_between_the_convolutions_and_nowhere_else():
    torch.manual_seed(0)
    net = nets.build("preact_resnet18_dropout", (3, 8, 8), 5, dropout=0.5)
    plain = nets.build("preact_resnet18", (3, 8, 8), 5)
    plain.load_state_dict(net.state_dict())
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(net.eval()(x), plain.eval()(x))
    block = net.stages[1][0].train()
    y = torch.randn(2, 64, 8, 8)
    torch.manual_seed(1)
    seen = block(y)
    torch.manual_seed(1)
    active = torch.relu(block.norm1(y))
    hidden = torch.nn.functional.dropout(torch.relu(block.norm2(block.conv1(active))), 0.5)
    torch.testing.assert_close(seen, block.conv2(hidden) + active)
    assert net.head[0].p == 0


def test_weights_come_from_the_global_generator():
    first, second, third = (
        (torch.manual_seed(seed), nets.build("small_cnn", (3, 32, 32), 10))[1].state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["head.1.weight"], third["head.1.weight"])


def test_dropout_before_the_head():
    net = nets.build("mlp", (4,), 3, dropout=0.5)
    x = torch.randn(8, 4)
    net.head.train()
    net.stages.eval()
    assert not torch.equal(net(x), net(x))
    with pytest.raises(InputError, match="dropout"):
        nets.build("mlp", (4,), 3, dropout=1.0)


def test_bf16_autocast_gives_float_logits():
    net = nets.build("small_cnn", (3, 32, 32), 10).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net(torch.randn(4, 3, 32, 32)).dtype == torch.float32


def test_auto():
    assert nets.auto((12,), "cpu") == nets.auto((12,), "cuda") == "mlp"
    assert nets.auto((3, 32, 32), "cpu") == nets.auto((3, 224, 224), torch.device("cpu")) == "small_cnn"
    assert nets.auto((3, 64, 64), "cuda:0") == "preact_resnet18"
    assert nets.auto((3, 224, 224), "cuda") == "resnet50"
    assert nets.auto((1, 5, 5), "cpu") == "mlp"


@pytest.mark.parametrize(
    ("name", "shape", "hint"),
    [
        ("smal_cnn", (3, 32, 32), "Did you mean 'small_cnn'"),
        ("resnet_34", (3, 32, 32), "Did you mean 'resnet34'"),
        ("resnet34", (20,), "'mlp'"),
        ("resnet34", (3, 7, 32), "at least 8 pixels"),
        ("timm:resnet18:pretraind", (3, 32, 32), "only ':pretrained'"),
    ],
)
def test_refusals(name, shape, hint):
    with pytest.raises(InputError, match=hint):
        nets.build(name, shape, 2)


def test_timm():
    check("timm:test_resnet", (1, 32, 32))
    check("timm:test_vit", (3, 32, 32))
    with pytest.raises(InputError, match="Did you mean 'resnet18'"):
        nets.build("timm:resnet_18", (3, 32, 32), 2)


def test_what_a_timm_net_expects():
    import timm

    assert expected("resnet50") == Expected()
    assert expected("timm:test_vit:64") == Expected(64)
    made_for = timm.get_pretrained_cfg("vit_small_patch16_224")
    found = expected("timm:vit_small_patch16_224:pretrained:224")
    assert found == (224, tuple(made_for.mean), tuple(made_for.std))
    assert expected("timm:test_vit:pretrained").size == timm.get_pretrained_cfg("test_vit").input_size[-1]
    check("timm:test_vit:64", (3, 64, 64))
    for wrong in ("timm:test_vit:64:32", "timm:test_vit:4", "timm:test_vit:big"):
        with pytest.raises(InputError, match="such as ':224'"):
            nets.build(wrong, (3, 64, 64), 2)


def test_the_packaged_network_has_its_weights_and_sees_what_it_was_trained_on(tmp_path):
    name = "packaged:efficientnet-lite0:32"
    assert expected(name) == (32, (127 / 255,) * 3, (128 / 255,) * 3)
    assert expected("packaged:efficientnet-lite0").size == 224
    first, second = (nets.build(name, (3, 32, 32), 4).state_dict() for _ in range(2))
    assert torch.equal(first["stages.0.conv_stem.weight"], second["stages.0.conv_stem.weight"])
    random = nets.build(name, (3, 32, 32), 4, pretrained=False).state_dict()
    assert not torch.equal(first["stages.0.conv_stem.weight"], random["stages.0.conv_stem.weight"])
    x = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    fitted = NoisyLabelClassifier("cross_entropy", net=name, epochs=1, freeze=1, out=tmp_path / "run")
    fitted.fit(x, np.arange(12) % 2)
    loaded = Model.load(tmp_path / "run" / "model.safetensors")
    np.testing.assert_allclose(loaded.probs(array_rows(x)), fitted.predict_proba(x), atol=1e-5)
    kept = loaded.members[0].state_dict()["stages.0.conv_stem.weight"]
    assert torch.equal(kept, first["stages.0.conv_stem.weight"])  # frozen
    for wrong in ("packaged:resnet18", "packaged:efficientnet-lite0:8", "packaged:efficientnet-lite0:big"):
        with pytest.raises(InputError, match="packaged:efficientnet-lite0"):
            nets.build(wrong, (3, 32, 32), 2)
    with pytest.raises(InputError, match="3 channels"):
        nets.build(name, (1, 32, 32), 2)


def test_a_run_brings_images_to_the_size_of_its_net(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    y = np.arange(40) % 2
    classifier = NoisyLabelClassifier("cross_entropy", net="timm:test_vit:64", epochs=1, out=tmp_path / "run")
    classifier.fit(x, y)
    loaded = Model.load(tmp_path / "run" / "model.safetensors")
    assert loaded.views.size == 64
    assert loaded.shape == (3, 32, 32)
    np.testing.assert_allclose(loaded.probs(array_rows(x)), classifier.predict_proba(x), atol=1e-5)
