"""imageio's plugin under the name that users import: importing this module teaches imageio .aec files."""

from aecodec.plugins.imageio import AecodecPlugin

__all__ = ["AecodecPlugin"]
