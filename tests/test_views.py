"""Views: equality with PIL and NumPy, randomness of every sample's own, and one owner of all randomness."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from codivide.core.errors import InputError
from codivide.data import views
from codivide.data.rows import TensorRows
from codivide.data.standardised import far_out, standardised
from codivide.data.views import ViewSpec, crop, cutout, fit_views


class Rows:
    """The least that ``fit_views`` asks for."""

    def __init__(self, data: torch.Tensor, sparse: bool = False) -> None:
        self.data, self.shape, self.dtype, self.sparse = data, tuple(data.shape[1:]), data.dtype, sparse

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, ids: torch.Tensor) -> torch.Tensor:
        return self.data[ids]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(batch: int = 16, channels: int = 3, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (batch, channels, size, size), generator=generator(seed), dtype=torch.uint8)


def spec(augment: str = "photo", channels: int = 3) -> ViewSpec:
    return ViewSpec(augment, torch.tensor([0.5, 0.4, 0.3])[:channels], torch.tensor([0.2, 0.25, 0.3])[:channels])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    pad=st.integers(1, 5),
    height=st.integers(8, 20),
    width=st.integers(8, 20),
    channels=st.sampled_from([1, 3]),
)
def test_crop_equals_pil(seed, pad, height, width, channels):
    shape = (5, channels, height, width)
    x = torch.randint(0, 256, shape, generator=generator(seed), dtype=torch.uint8)
    dy, dx = torch.randint(0, 2 * pad + 1, (2, 5), generator=generator(seed + 1))
    flip = torch.rand(5, generator=generator(seed + 2)) < 0.5
    out = crop(x, dy, dx, flip, pad)
    for i in range(5):
        picture = Image.fromarray(x[i].permute(1, 2, 0).squeeze(2).numpy())
        left, top = int(dx[i]), int(dy[i])
        expected = ImageOps.expand(picture, pad).crop((left, top, left + width, top + height))
        if flip[i]:
            expected = ImageOps.mirror(expected)
        np.testing.assert_array_equal(
            out[i].permute(1, 2, 0).numpy(), np.asarray(expected).reshape(height, width, channels)
        )


def test_crop_of_floats_and_of_channels_last():
    x = images().float() / 255
    offsets = torch.full((16,), 4), torch.full((16,), 4), torch.zeros(16, dtype=torch.bool)
    assert torch.equal(crop(x, *offsets, pad=4), x)
    assert torch.equal(crop(x.contiguous(memory_format=torch.channels_last), *offsets, pad=4), x)
    assert crop(x[:0], *(each[:0] for each in offsets), pad=4).shape == (0, 3, 32, 32)


def test_plain_equals_numpy():
    x = images()
    plain = spec().views()["plain"](x, generator())
    mean, std = spec().mean.numpy()[:, None, None], spec().std.numpy()[:, None, None]
    np.testing.assert_allclose(plain.numpy(), (x.numpy() / 255 - mean) / std, atol=2e-6)
    assert plain.dtype == torch.float32
    assert plain.is_contiguous(memory_format=torch.channels_last)
    from_floats = spec().plain(x.float() / 255, generator())
    torch.testing.assert_close(from_floats, plain, atol=2e-6, rtol=0)
    features = torch.randn(7, 3)
    torch.testing.assert_close(spec("jitter").plain(features, generator()), (features - spec().mean) / spec().std)


def test_weak_uint8_equals_weak_float():
    x = images()
    torch.testing.assert_close(
        spec().weak(x, generator(3)), spec().weak(x.float() / 255, generator(3)), atol=2e-6, rtol=0
    )


def test_weak_photo_flips_half_and_moves_everywhere():
    ramp = torch.arange(32, dtype=torch.uint8).expand(4000, 1, 32, 32) * 8
    x = spec(channels=1).weak(ramp.contiguous(), generator())
    flipped = x[:, 0, 16, 8] > x[:, 0, 16, 24]
    assert 0.46 < flipped.float().mean() < 0.54
    assert len(x[~flipped][:, 0, 16, 16].unique()) == 9  # every offset of 0 to 8
    shifted = spec("shift", 1).weak(ramp.contiguous(), generator())
    assert not (shifted[:, 0, 16, 8] > shifted[:, 0, 16, 24]).any()


def test_shift_of_digits_pads_one_pixel():
    dot = torch.zeros(500, 1, 8, 8, dtype=torch.uint8)
    dot[:, :, 4, 4] = 255
    x = spec("shift", 1).weak(dot, generator())
    rows, columns = x.flatten(1).argmax(1) // 8, x.flatten(1).argmax(1) % 8
    assert sorted(rows.unique().tolist()) == sorted(columns.unique().tolist()) == [3, 4, 5]


@pytest.mark.parametrize("augment", ["photo", "shift"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 8), (2, 11)])
def test_strong_images(augment, dtype, channels, size):
    one = images(1, channels, size).expand(64, -1, -1, -1).contiguous().to(dtype)
    before = one.clone()
    out = spec(augment, channels).strong(one, generator())
    assert out.shape == one.shape
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out.isfinite().all()
    assert torch.equal(one, before)
    assert len(out.flatten(1).unique(dim=0)) >= 60  # one image, 64 different views
    assert torch.equal(out, spec(augment, channels).strong(one, generator()))


def test_strong_stays_in_range():
    out = spec().strong(images(256), generator())
    raw = out * spec().std[:, None, None] + spec().mean[:, None, None]
    assert raw.min() >= -1e-5
    assert raw.max() <= 1 + 1e-5


@pytest.mark.parametrize("name", ["weak", "strong"])
@pytest.mark.parametrize("augment", views.AUGMENTS)
def test_generator_owns_all_randomness(augment, name):
    x = torch.randn(8, 3) if augment == "jitter" else images(8)
    state = torch.get_rng_state()
    first, second, third = (spec(augment).views()[name](x, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert torch.equal(first, third) == (augment == "none")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["plain", "weak", "strong"])
def test_cuda_draws_what_the_cpu_draws(name):
    x = images(64)
    here, there = (spec().views()[name](x.to(device), generator()).cpu() for device in ("cpu", "cuda"))
    # A rounding of the interpolation may tip a few posterised or solarised pixels over their threshold.
    assert ((here - there).abs() > 1e-4).float().mean() < 1e-3


def test_jitter():
    spec = ViewSpec("jitter", torch.zeros(50), torch.ones(50))
    x = torch.full((2000, 50), 3.0)
    assert (spec.weak(x, generator()) - x).std() == pytest.approx(0.1, rel=0.02)
    strong = spec.strong(x, generator())
    assert (strong == 0).float().mean() == pytest.approx(0.1, abs=0.01)
    assert strong[strong != 0].std() == pytest.approx(0.2, rel=0.02)


def test_cutout_square():
    out = cutout(torch.ones(300, 2, 16, 16), generator(), 8)
    holes = (out == 0).sum((2, 3))
    assert torch.equal(holes[:, 0], holes[:, 1])
    assert holes.max() == 64
    assert holes.min() >= 16
    for i in range(20):
        rows, columns = (out[i, 0] == 0).nonzero().T
        assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)


@pytest.mark.parametrize(
    ("name", "reference", "tolerance"),
    [
        ("equalize", lambda picture, s: ImageOps.equalize(picture), 1e-3),
        ("autocontrast", lambda picture, s: ImageOps.autocontrast(picture), 1.01),
        ("posterize", lambda picture, s: ImageOps.posterize(picture, 8 - int(abs(s) * 4.999)), 1e-3),
        ("solarize", lambda picture, s: ImageOps.solarize(picture, int(np.ceil(255 * (1 - abs(s))))), 1e-3),
        ("brightness", lambda picture, s: ImageEnhance.Brightness(picture).enhance(1 + 0.9 * s), 1.01),
        ("colour", lambda picture, s: ImageEnhance.Color(picture).enhance(1 + 0.9 * s), 2.01),
        ("contrast", lambda picture, s: ImageEnhance.Contrast(picture).enhance(1 + 0.9 * s), 2.01),
        ("sharpness", lambda picture, s: ImageEnhance.Sharpness(picture).enhance(1 + 0.9 * s), 2.01),
    ],
)
@pytest.mark.parametrize("strength", [-0.7, 0.33, 0.9])
def test_colour_operations_equal_pil(name, reference, tolerance, strength):
    """Up to PIL's rounding to whole levels in between, at the same strength."""
    x = images(4) // torch.tensor([1, 2, 3, 5], dtype=torch.uint8)[:, None, None, None] + 20
    operation = torch.full((4, 1), views.OPERATIONS.index(name))
    choices = views.Choices(operation, torch.full((4, 1), strength))
    out = views.rand_augment(x.float() / 255, choices) * 255
    for i in range(4):
        picture = Image.fromarray(x[i].permute(1, 2, 0).numpy())
        expected = np.asarray(reference(picture, strength)).transpose(2, 0, 1)
        assert np.abs(out[i].numpy() - expected).max() <= tolerance


def test_smoothing_is_pils():
    x = images(1)
    picture = Image.fromarray(x[0].permute(1, 2, 0).numpy()).filter(ImageFilter.SMOOTH)
    out = views._smooth(x.float())[0].permute(1, 2, 0).numpy()
    assert np.abs(out - np.asarray(picture)).max() <= 0.51


@pytest.mark.parametrize(
    ("name", "strength", "expected"),
    [
        ("rotate", 1.0, lambda p: p.rotate(-30, Image.Resampling.BILINEAR)),
        ("rotate", -0.5, lambda p: p.rotate(15, Image.Resampling.BILINEAR)),
        ("translate_x", 0.5, lambda p: p.transform(p.size, Image.Transform.AFFINE, (1, 0, 0.15 * 40, 0, 1, 0))),
        ("translate_y", -1.0, lambda p: p.transform(p.size, Image.Transform.AFFINE, (1, 0, 0, 0, 1, -0.3 * 40))),
        (
            "shear_x",
            1.0,
            lambda p: p.transform(p.size, Image.Transform.AFFINE, (1, 0.3, -6, 0, 1, 0), Image.Resampling.BILINEAR),
        ),
        (
            "shear_y",
            -1.0,
            lambda p: p.transform(p.size, Image.Transform.AFFINE, (1, 0, 0, -0.3, 1, 6), Image.Resampling.BILINEAR),
        ),
        ("identity", 0.7, lambda p: p),
    ],
)
def test_geometry_equals_pil(name, strength, expected):
    smooth = torch.linspace(0, 255, 40)
    x = (0.5 * smooth[:, None] + 0.5 * smooth[None, :]).byte()[None, None]
    choices = views.Choices(torch.tensor([[views.OPERATIONS.index(name)]]), torch.tensor([[strength]]))
    out = views.rand_augment(x.float() / 255, choices)[0, 0].numpy() * 255
    reference = np.asarray(expected(Image.fromarray(x[0, 0].numpy())))
    assert np.abs(out - reference)[12:-12, 12:-12].max() <= 4  # away from what was filled in


def test_operations_differ_between_samples():
    choices = views.draw_choices(5000, generator())
    counts = torch.bincount(choices.operation.flatten(), minlength=len(views.OPERATIONS))
    assert counts.min() > 0.8 * 10_000 / len(views.OPERATIONS)
    assert choices.strength.min() < -0.99
    assert choices.strength.max() > 0.99


def test_fit_images():
    x = images(300)
    x[:, 2] = 7
    fitted = fit_views(Rows(x), "photo")
    scaled = x.double() / 255
    torch.testing.assert_close(fitted.mean.double(), scaled.mean((0, 2, 3)), atol=1e-6, rtol=0)
    torch.testing.assert_close(fitted.std[:2].double(), scaled.std((0, 2, 3), correction=0)[:2], atol=1e-5, rtol=0)
    assert fitted.std[2] == 1


def test_fit_features_far_from_zero(monkeypatch):
    monkeypatch.setattr(views, "_FIT_ELEMENTS", 50)  # many batches
    x = torch.randn(501, 4, generator=generator())
    x[:, 1] = 3.25
    x[:, 2] = x[:, 2] * 1e-6
    x[:, 3] += 1e4
    fitted = fit_views(Rows(x), "jitter")
    standard = fitted.plain(x, generator())
    torch.testing.assert_close(standard.mean(0), torch.zeros(4), atol=2e-3, rtol=0)
    torch.testing.assert_close(standard.std(0, correction=0), torch.tensor([1.0, 0, 1, 1]), atol=2e-3, rtol=0)
    assert fitted.std[1] == 1


def test_fit_sparse_keeps_zeros():
    x = torch.zeros(400, 30)
    x[torch.arange(400), torch.arange(400) % 29] = 2.0
    fitted = fit_views(Rows(x, sparse=True), "jitter")
    out = fitted.plain(x, generator())
    assert torch.equal(out == 0, x == 0)
    assert out.square().mean() == pytest.approx(1, rel=1e-4)


def test_fit_samples_evenly():
    x = torch.arange(100_000, dtype=torch.float32)[:, None]
    fitted = fit_views(Rows(x), "jitter", sample=11)
    assert fitted.mean.item() == pytest.approx(49_999.5, abs=1)


def test_refusals():
    with pytest.raises(InputError, match="no rows"):
        fit_views(Rows(torch.zeros(0, 3)), "jitter")
    with pytest.raises(InputError, match="unknown augmentation 'foto'"):
        spec("foto")


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 48), (33, 9)])
def test_a_crop_is_a_part_of_the_image_and_plain_its_middle(height, width):
    x = torch.arange(height * width).view(1, 1, height, width).expand(300, 1, -1, -1).float()
    cropping = ViewSpec("crop", torch.zeros(1), torch.ones(1))
    high, wide = height * 7 // 8, width * 7 // 8
    assert cropping.shape_of((1, height, width)) == (1, high, wide)
    top, left = (height - high) // 2, (width - wide) // 2
    assert torch.equal(cropping.plain(x, generator()), x[:, :, top : top + high, left : left + wide])
    seen = cropping.weak(x, generator())
    assert seen.shape == (300, 1, high, wide)
    mirrored = seen[:, 0, 0, 0] > seen[:, 0, 0, -1]
    assert 0.4 < mirrored.float().mean() < 0.6
    straight = torch.where(mirrored[:, None, None, None], seen.flip(3), seen)
    corner = straight[:, 0, 0, 0].long()
    assert {int(k) for k in corner // width} == set(range(height - high + 1))
    assert {int(k) for k in corner % width} == set(range(width - wide + 1))
    expected = x[0, 0].unfold(0, high, 1).unfold(1, wide, 1)[corner // width, corner % width]
    assert torch.equal(straight[:, 0], expected)


def test_a_resized_crop_shows_what_its_draws_say():
    """A ramp from left to right and one from top to bottom: the corners of the result tell which part it is."""
    steps = torch.arange(64).float()
    x = torch.stack([steps.expand(64, 64), steps.expand(64, 64).T])[None].expand(2000, -1, -1, -1)
    draws = torch.rand(2000, 5, generator=generator())
    out = views.resized_crop(x, draws, 56, 56)
    across, down = out[:, 0, 20, -1] - out[:, 0, 20, 0], out[:, 1, -1, 20] - out[:, 1, 0, 20]
    assert torch.equal(across < 0, draws[:, 4] < 0.5)
    wide, high = across.abs() / 64 * 56 / 55, down / 64 * 56 / 55  # between the centres of the outermost pixels
    area, form = wide * high, wide / high
    inside = (wide < 0.95) & (high < 0.95)  # at the border the outermost pixels are repeated
    assert area[inside].min() >= 0.079
    torch.testing.assert_close(area[inside], 0.08 + 0.92 * draws[inside, 0], atol=0.02, rtol=0)
    assert form[inside].min() > 0.73
    assert form[inside].max() < 1.36
    assert area.max() <= 1.01
    left = torch.minimum(out[:, 0, 20, 0], out[:, 0, 20, -1])
    assert left[draws[:, 3] < 0.01].max() < 2
    whole = torch.tensor([[1.0, 0.5, 0.5, 0.5, 0.9]])
    torch.testing.assert_close(views.resized_crop(x[:1], whole, 64, 64), x[:1], atol=1e-3, rtol=0)
    assert views.resized_crop(images(2), torch.rand(2, 5, generator=generator()), 28, 28).dtype == torch.uint8


def test_photo_one_draws_one_operation():
    x = images(400)
    assert torch.equal(spec("photo_one").weak(x, generator(1)), spec("photo").weak(x, generator(1)))
    assert views.draw_choices(5, generator(), 1).operation.shape == (5, 1)
    assert views.draw_choices(5, generator()).operation.shape == (5, 2)
    one = views.rand_augment(x.float() / 255, views.draw_choices(400, generator(2), 1))
    unchanged = (one - x.float() / 255).abs().flatten(1).amax(1) < 1e-4
    identity = (views.draw_choices(400, generator(2), 1).operation[:, 0] == views.OPERATIONS.index("identity")).sum()
    assert unchanged.sum() >= identity > 0
    assert spec("photo_one").strong(x, generator()).shape == x.shape


@pytest.mark.parametrize("kind", ["photo", "crop", "resized_crop", "shift", "none"])
def test_images_come_in_the_size_that_is_asked_for(kind):
    fitted = fit_views(Rows(images(size=64)), kind)
    suited = fitted.suited(48, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    for view in suited.views().values():
        seen = view(images(4, size=64), generator())
        assert seen.shape == (4, 3, 48, 48)
        assert seen.is_contiguous(memory_format=torch.channels_last)
    assert suited.shape_of((3, 64, 64)) == (3, 48, 48)
    assert suited.std.tolist() == [0.25] * 3
    assert torch.equal(fitted.suited(None).mean, fitted.mean)
    assert torch.equal(fitted.suited(None, (0.5,), (0.2,)).mean, fitted.mean)  # of another number of channels
    assert fitted.shape_of((7,)) == (7,)


def test_amounts_among_zeros_with_a_little_noise_are_not_cut():
    generator = np.random.default_rng(0)
    x = np.where(generator.random(400) < 0.24, generator.integers(1, 16, 400), 0)[:, None].astype(np.float32)
    x += 1e-3 * generator.normal(size=x.shape).astype(np.float32)
    assert np.ptp(np.quantile(x, (0.25, 0.75))) < 0.01  # so nearly all that is not 0 is far from the quartiles
    assert np.isinf(far_out(x, x.mean(0), x.std(0), most_cut=0.1)).all()
    assert np.ptp(standardised(TensorRows(torch.from_numpy(x)))) > 3  # rows differ by the amounts
    x[np.argsort(x[:, 0])[:-20]] = 1e-3 * generator.normal(size=(380, 1))
    assert far_out(x, x.mean(0), x.std(0), most_cut=0.1)[1, 0] < 0.01  # a twentieth is few


@pytest.mark.parametrize("place", [0, 12_345])
def test_a_value_far_out_is_cut_and_the_others_keep_their_scale(place):
    x = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0))
    before = fit_views(TensorRows(x), "none")
    assert before.bounds is None
    spoiled = x.clone()
    spoiled[place, 1] = 1e9
    spec = fit_views(TensorRows(spoiled), "none")
    assert spec.stretched == [1]
    assert torch.allclose(spec.std, before.std, rtol=0.01)
    seen = spec.plain(spoiled[place : place + 1], torch.Generator())
    assert seen.abs().max() < 6
    rest = torch.arange(20_000) != place
    assert torch.allclose(
        spec.plain(spoiled[rest], torch.Generator()), before.plain(x[rest], torch.Generator()), atol=0.5
    )
