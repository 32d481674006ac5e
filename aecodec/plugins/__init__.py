"""aecodec behind other libraries: Pillow, imageio, numcodecs."""
