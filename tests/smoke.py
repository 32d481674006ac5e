"""An installed wheel, tried in seconds by what is beside this file: golden files give their pixels, pictures go round.

python tests/smoke.py, from any folder. Used where wheels are built; needs nothing but the package.
"""

from pathlib import Path

import numpy as np
from PIL import Image

import aecodec

DATA = Path(__file__).parent / "data"


def main() -> None:
    codec = aecodec.Codec.load(DATA / "tiny.safetensors", device="cpu")
    files = sorted((DATA / "golden").glob("*.aec"))
    assert files
    for file in files:
        with Image.open(file.with_suffix(".png")) as picture:
            np.testing.assert_array_equal(
                np.asarray(codec.decode(file.read_bytes())), np.asarray(picture), err_msg=file.name
            )
    with Image.open(DATA / "coffee.png") as coffee:
        coffee.load()
    shipped = aecodec.decode(aecodec.encode(coffee, quality=60))
    assert aecodec.metrics.psnr(np.asarray(coffee), np.asarray(shipped)) > 30
    assert np.array_equal(np.asarray(aecodec.decode(aecodec.encode(coffee, lossless=True))), np.asarray(coffee))


if __name__ == "__main__":
    main()
