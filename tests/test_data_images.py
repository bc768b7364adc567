"""One image file of every odd kind: pixels as a person sees them, or a reason."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from codivide.data import images
from codivide.data.images import (
    Passing,
    Probe,
    choose_shape,
    decode_file,
    flatten,
    is_image_name,
    probe_file,
    to_pixels,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def pixels_of(path, shape):
    answer = decode_file(path, shape)
    assert isinstance(answer, np.ndarray), answer
    assert answer.dtype == np.uint8
    assert answer.shape == shape
    return answer


def checked(seed=0, size=(6, 8)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("extension", ["png", "bmp", "tiff", "ppm", "gif", "webp"])
def test_lossless_formats_come_back_exactly(tmp_path, extension):
    image = checked() // 64 * 64
    Image.fromarray(image).save(tmp_path / f"a.{extension}", lossless=True)
    assert np.array_equal(pixels_of(tmp_path / f"a.{extension}", (3, 6, 8)), image.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [(1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, 3)), (8, np.rot90)],
)
@pytest.mark.parametrize("extension", ["tiff", "png"])
def test_exif_rotation_is_applied(tmp_path, orientation, undo, extension):
    stored = checked(size=(8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{extension}", exif=exif)
    shown = pixels_of(tmp_path / f"a.{extension}", (3, 8, 8))
    assert np.array_equal(shown.transpose(1, 2, 0), undo(stored))


def test_a_turned_photo_is_probed_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert probe_file(tmp_path / "a.jpg") == Probe(10, 20, False)


def test_grey_becomes_colour_and_colour_grey(tmp_path):
    grey = checked()[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(pixels_of(tmp_path / "a.png", (3, 6, 8)), np.broadcast_to(grey, (3, 6, 8)))
    assert np.array_equal(pixels_of(tmp_path / "a.png", (1, 6, 8)), grey[None])
    Image.new("RGB", (8, 6), RED).save(tmp_path / "b.png")
    assert (pixels_of(tmp_path / "b.png", (1, 6, 8)) == 76).all()


def test_one_bit_is_black_and_white(tmp_path):
    Image.fromarray(checked()[:, :, 0] > 100).save(tmp_path / "a.png")
    assert set(np.unique(pixels_of(tmp_path / "a.png", (1, 6, 8)))) == {0, 255}


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_on_white(tmp_path, mode):
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(pixels_of(tmp_path / "a.png", (3, 1, 2))[:, 0].T, [(0, 0, 0), WHITE])


def test_half_transparent_red_is_pink(tmp_path):
    Image.new("RGBA", (1, 1), (255, 0, 0, 128)).save(tmp_path / "a.png")
    assert pixels_of(tmp_path / "a.png", (3, 1, 1)).ravel() == pytest.approx([255, 127, 127], abs=1)


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    assert np.array_equal(pixels_of(tmp_path / "a.png", (3, 1, 2))[:, 0].T, [RED, BLUE])
    image.save(tmp_path / "b.png", transparency=0)
    assert np.array_equal(pixels_of(tmp_path / "b.png", (3, 1, 2))[:, 0].T, [WHITE, BLUE])


def test_cmyk_jpeg_looks_as_it_prints(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    shown = pixels_of(tmp_path / "a.jpg", (3, 16, 16)).mean((1, 2))
    assert shown == pytest.approx(RED, abs=6)


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    deep = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert probe_file(tmp_path / "a.png") == Probe(4, 1, True, 16)
    assert pixels_of(tmp_path / "a.png", (1, 1, 4)).ravel().tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("kind", ["png", "tiff", "tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_deep_images_are_read_by_their_own_depth(tmp_path, kind, bits):
    most = 2**bits - 1
    Image.fromarray(np.array([[0, most // 2, most]], dtype=np.uint16)).save(tmp_path / f"a.{kind}")
    assert probe_file(tmp_path / f"a.{kind}") == Probe(3, 1, True, bits)
    found = pixels_of(tmp_path / f"a.{kind}", (1, 1, 3)).ravel().tolist()
    assert found == [0, pytest.approx(127, abs=1), 255]


def test_integers_of_32_bits_and_reals_have_the_depth_of_their_values(tmp_path):
    for values in (np.array([[0, 1000, 4095]], np.int32), np.array([[0, 1000, 4095]], np.float32)):
        Image.fromarray(values).save(tmp_path / "a.tiff")
        assert probe_file(tmp_path / "a.tiff").depth == 12
        assert pixels_of(tmp_path / "a.tiff", (1, 1, 3)).ravel().tolist() == [0, 62, 255]
    assert np.asarray(flatten(Image.fromarray(np.array([[-5, 70_000]], np.int32)))).tolist() == [[0, 255]]
    assert np.asarray(flatten(Image.fromarray(np.array([[np.nan, np.inf, 1.0]], np.float32)))).tolist() == [[0, 0, 255]]


def test_a_picture_of_a_telephone_needs_the_package_that_reads_it(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    monkeypatch.setattr(images, "reads_heic", lambda: False)
    assert not is_image_name("a.heic")
    why = decode_file(tmp_path / "a.heic", (3, 8, 8))
    assert "pip install pillow-heif" in why
    assert isinstance(why, Passing)  # no verdict on the file: with the package the next run reads it


def test_pictures_of_telephones_are_read_where_the_package_is_there(tmp_path):
    assert is_image_name("a.HEIC")
    assert images.reads_heic()
    Image.new("RGB", (64, 32), RED).save(tmp_path / "a.heic")
    assert probe_file(tmp_path / "a.heic") == Probe(64, 32, False)
    assert pixels_of(tmp_path / "a.heic", (3, 32, 64)).mean((1, 2)) == pytest.approx(RED, abs=8)


def test_float_images_in_either_range():
    assert np.asarray(flatten(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)))).tolist() == [[0, 128, 255]]
    assert np.asarray(flatten(Image.fromarray(np.array([[0.0, 300.0]], np.float32)))).tolist() == [[0, 75]]


@pytest.mark.parametrize("extension", ["gif", "webp"])
def test_an_animation_shows_its_first_frame(tmp_path, extension):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (GREEN, RED, BLUE)]
    frames[0].save(tmp_path / f"a.{extension}", save_all=True, append_images=frames[1:], lossless=True)
    assert (pixels_of(tmp_path / f"a.{extension}", (3, 4, 4)).reshape(3, -1).T == GREEN).all()


def test_resize_keeps_the_centre_of_the_short_side():
    wide = Image.new("RGB", (300, 100), RED)
    wide.paste(GREEN, (100, 0, 200, 100))
    middle = to_pixels(wide, (3, 50, 50))
    assert (middle[:, :, 2:-2].reshape(3, -1).T == GREEN).all()


def test_a_large_jpeg_is_decoded_small_but_true(tmp_path):
    ramp = np.linspace(0, 255, 1600, dtype=np.uint8)
    Image.fromarray(np.repeat(np.broadcast_to(ramp, (1600, 1600))[:, :, None], 3, 2)).save(tmp_path / "a.jpg")
    small = pixels_of(tmp_path / "a.jpg", (3, 100, 100)).astype(int)
    assert np.abs(small - np.linspace(1, 254, 100)).max() <= 3


def test_truncated_empty_and_foreign_files_give_reasons(tmp_path):
    Image.fromarray(checked(size=(64, 64))).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.jpg").write_text("dear diary")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "dir.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "truncated" in decode_file(tmp_path / "cut.jpg", (3, 64, 64))
    assert decode_file(tmp_path / "text.jpg", (3, 64, 64)) == "not an image"
    assert decode_file(tmp_path / "empty.jpg", (3, 64, 64)) == "empty file"
    assert decode_file(tmp_path / "none.jpg", (3, 64, 64)) == "no such file"
    for name in ("dir.jpg", "pipe.jpg"):
        assert probe_file(tmp_path / name) == "not a regular file"


def test_formats_that_start_programs_are_not_opened(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    assert probe_file(tmp_path / "a.png") == "not an image"


def png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 40_000])
def test_bombs_are_refused_before_they_are_decoded(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    assert "bomb" in probe_file(tmp_path / "bomb.png")
    assert "bomb" in decode_file(tmp_path / "bomb.png", (3, 32, 32))


def test_shape_of_a_set():
    small, other, large = Probe(32, 24, False), Probe(24, 32, False), Probe(100, 100, False)
    assert choose_shape([small, small], None) == (3, 24, 32)
    assert choose_shape([small, other], None) == (3, 224, 224)
    assert choose_shape([large], None) == (3, 224, 224)
    assert choose_shape([large, small], 48) == (3, 48, 48)
    assert choose_shape([Probe(8, 8, True)], None) == (1, 8, 8)
    assert choose_shape([Probe(8, 8, True), Probe(8, 8, False)], None) == (3, 8, 8)


def test_names_of_images():
    assert is_image_name("ä b.JPeG")
    assert not any(map(is_image_name, [".DS_Store", "Thumbs.db", "._a.jpg", "a.txt", "jpg"]))
