import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from model.errors import ImageTooLarge, InputError, NotAnImage
from model.images import (
    ImageFormat,
    ImageLimits,
    decode_image,
    prepare_image,
    square_patches,
    squash,
)


def encode(image, fmt, **options):
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def noise(width, height, mode="RGB", seed=0):
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}[mode]
    values = np.random.default_rng(seed).integers(0, 256, (height, width, *channels), dtype=np.uint8)
    return Image.fromarray(values, mode=mode)


def gradient(width, height):
    rows = np.linspace(0, 255, height)[:, None, None]
    columns = np.linspace(0, 255, width)[None, :, None]
    values = np.concatenate([rows + 0 * columns, columns + 0 * rows, (rows + columns) / 2], axis=2)
    return Image.fromarray(values.astype(np.uint8))


def png_header(width, height):
    """A PNG that claims a size and holds almost no data."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [28, 112])
def test_square_patches_equal_the_processor(side):
    images = np.stack([np.asarray(noise(side, side, seed=seed)) for seed in range(3)])
    processor = Qwen2VLImageProcessorPil(do_resize=False)
    expected = processor(images=[Image.fromarray(image) for image in images], return_tensors="pt")
    patches = square_patches(images)
    assert patches.shape == (3, (side // 14) ** 2, 1176)
    torch.testing.assert_close(patches.flatten(0, 1), expected["pixel_values"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(square_patches(torch.from_numpy(images)), patches)


def test_prepared_square_image():
    photo = gradient(200, 90)
    data = encode(photo, "PNG")
    prepared = prepare_image(data, ImageFormat(square_side=112))
    assert prepared.grid_thw == (1, 8, 8)
    assert prepared.token_count == 16
    assert len(prepared.sha256) == 64
    torch.testing.assert_close(prepared.patches, square_patches(squash(photo, 112)[None])[0])


def test_prepared_dynamic_image_equals_the_processor():
    photo = noise(300, 170)
    prepared = prepare_image(encode(photo, "PNG"), ImageFormat(None, 56 * 56, 28 * 28 * 30))
    processor = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=28 * 28 * 30)
    expected = processor(images=[photo], return_tensors="pt")
    assert list(prepared.grid_thw) == expected["image_grid_thw"][0].tolist()
    torch.testing.assert_close(prepared.patches, expected["pixel_values"])
    assert prepared.token_count <= 30


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "GIF"])
def test_accepted_formats(fmt):
    photo = gradient(40, 30)
    decoded = decode_image(encode(photo, fmt))
    assert decoded.mode == "RGB"
    assert decoded.size == (40, 30)
    difference = np.abs(np.asarray(decoded, dtype=int) - np.asarray(photo, dtype=int)).mean()
    assert difference < 12


@pytest.mark.parametrize("fmt", ["BMP", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused(fmt):
    with pytest.raises(NotAnImage) as caught:
        decode_image(encode(gradient(32, 32), fmt))
    assert caught.value.field == "image"
    assert "JPEG" in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"hello, I am a text", b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n\x1a\n"]
)
def test_text_and_fragments_are_refused(data):
    with pytest.raises(NotAnImage):
        decode_image(data)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "GIF"])
@given(share=st.floats(0.0, 0.9))
def test_truncated_images_are_refused(fmt, share):
    data = encode(noise(64, 64), fmt)
    with pytest.raises(NotAnImage, match="cut short"):
        decode_image(data[: int(len(data) * share)])


@given(
    position=st.integers(0, 10_000), value=st.integers(0, 255), fmt=st.sampled_from(["JPEG", "PNG", "GIF"])
)
def test_damaged_bytes_give_a_picture_or_an_input_error(position, value, fmt):
    data = bytearray(encode(gradient(48, 48), fmt))
    data[position % len(data)] = value
    outcomes = []
    try:
        outcomes.append(decode_image(bytes(data)).mode)
    except InputError as error:
        outcomes.append(error.field)
    assert outcomes in (["RGB"], ["image"])


@pytest.mark.parametrize("size", [(20_000, 20_000), (20_000, 20), (8_000, 8_000), (60_000, 60_000)])
def test_huge_images_are_refused_from_the_header(size):
    with pytest.raises(ImageTooLarge, match="Scale it down"):
        decode_image(png_header(*size))


def test_byte_limit():
    data = encode(noise(64, 64), "PNG")
    with pytest.raises(ImageTooLarge, match="bytes"):
        decode_image(data, ImageLimits(max_bytes=len(data) - 1))
    assert decode_image(data, ImageLimits(max_bytes=len(data))).size == (64, 64)


def test_exif_orientation_is_applied():
    photo = Image.new("RGB", (40, 20), "black")
    photo.paste((255, 0, 0), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to see it upright
    decoded = decode_image(encode(photo, "PNG", exif=exif))
    assert decoded.size == (20, 40)
    assert decoded.getpixel((10, 5)) == (255, 0, 0)
    assert decoded.getpixel((10, 35)) == (0, 0, 0)


@pytest.mark.parametrize("fmt", ["PNG", "WEBP"])
def test_transparency_is_laid_over_white(fmt):
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 10, 20))
    decoded = decode_image(encode(image, fmt, lossless=True))
    assert decoded.getpixel((15, 10)) == (255, 255, 255)
    assert decoded.getpixel((2, 10)) == (0, 0, 255)


def test_transparent_palette_is_laid_over_white():
    image = Image.new("P", (20, 20), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 10, 20))
    decoded = decode_image(encode(image, "GIF", transparency=0))
    assert decoded.getpixel((15, 10)) == (255, 255, 255)
    assert decoded.getpixel((2, 10)) == (200, 100, 50)


def test_sixteen_bit_grey_keeps_its_range():
    values = np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(8, axis=0)
    decoded = np.asarray(decode_image(encode(Image.fromarray(values), "PNG")))
    assert decoded[0, 0].tolist() == [0, 0, 0]
    assert decoded[0, 63].tolist() == [255, 255, 255]
    assert abs(int(decoded[0, 32, 0]) - 130) <= 2


def test_cmyk_jpeg():
    decoded = decode_image(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = decoded.getpixel((8, 8))
    assert red > 200
    assert green < 60
    assert blue < 60


def test_only_the_first_frame_counts():
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(data).getpixel((8, 8))[::2] == (255, 0)


def test_extreme_aspect_is_refused_where_the_aspect_is_kept():
    data = encode(Image.new("RGB", (2010, 10)), "PNG")
    with pytest.raises(InputError, match="Crop"):
        prepare_image(data, ImageFormat(square_side=None))
    assert prepare_image(data, ImageFormat(square_side=56)).token_count == 4


@pytest.mark.parametrize("side", [0, -28, 100])
def test_bad_square_side(side):
    with pytest.raises(ValueError, match="multiple of 28"):
        ImageFormat(square_side=side)
