"""Batches of pictures as tensors: the same files and pixels as one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from aecodec import Codec, InputError


@pytest.fixture(scope="module")
def batch(coffee: Image.Image) -> torch.Tensor:
    parts = [np.asarray(coffee.crop((left, 40, left + 150, 140))) for left in (0, 200, 420)]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_batch_is_coded_as_its_pictures_are(codec: Codec, batch: torch.Tensor, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    batched = Codec.load(device=device)
    files = batched.encode_tensor(batch.to(device), quality=45, tile=1)
    decoded = batched.decode_tensor(files)
    assert decoded.device.type == device
    for x, file, x_hat in zip(batch, files, decoded, strict=True):
        alone = codec.encode(x.permute(1, 2, 0).numpy(), quality=45, tile=1)
        assert abs(len(file) - len(alone)) <= 8  # a rounding tie may fall either way
        assert np.abs(np.asarray(codec.decode(file)).astype(int) - x_hat.permute(1, 2, 0).cpu().numpy()).max() <= 1


def test_a_batch_is_refined_as_its_pictures_are(codec: Codec, batch: torch.Tensor) -> None:
    with torch.inference_mode():  # as a caller may have it, though refinement needs gradients
        files = codec.encode_tensor(batch, quality=45, effort=6)  # the lowest with noise
    for x, file in zip(batch, files, strict=True):
        picture = x.permute(1, 2, 0).numpy()
        with torch.inference_mode():
            alone = codec.encode(picture, quality=45, effort=6)
        assert len(file) == pytest.approx(len(alone), rel=0.01)
        assert len(alone) < len(codec.encode(picture, quality=45, effort=0))


def test_qualities_and_modes_of_a_batch_may_differ(codec: Codec, coffee: Image.Image) -> None:
    small = coffee.crop((0, 0, 90, 70))
    images = [small, small.convert("L"), small.convert("RGBA")]
    files = [codec.encode(image, quality=quality) for image, quality in zip(images, (20, 50, 90), strict=True)]
    for file, x_hat in zip(files, codec.decode_tensor(files), strict=True):
        expected = np.asarray(codec.decode(file).convert("RGB")).astype(int)
        assert np.abs(expected - x_hat.permute(1, 2, 0).numpy()).max() <= 1


def test_bad_batches_are_refused(tiny: Codec, batch: torch.Tensor) -> None:
    for bad in (batch.float(), batch[0], batch[:, :1]):
        with pytest.raises(InputError, match=r"batch must be uint8 \[B, 3, H, W\], got"):
            tiny.encode_tensor(bad)
    with pytest.raises(InputError, match="outside"):
        tiny.encode_tensor(batch[:, :, :0])
    assert tiny.encode_tensor(batch[:0]) == []
    files = [*tiny.encode_tensor(batch[:1]), *tiny.encode_tensor(batch[:1, :, 1:])]
    with pytest.raises(InputError, match="one size, got 2 sizes in 2 files"):
        tiny.decode_tensor(files)
    with pytest.raises(InputError, match="one size, got 0 sizes in 0 files"):
        tiny.decode_tensor([])
