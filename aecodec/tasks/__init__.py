"""What .aec files are good for besides showing them: search, maps, pictures without noise or larger."""

from aecodec.tasks.embedding import Embedder, Seen, Source, embed
from aecodec.tasks.enhance import HIGHEST_SIGMA, Cleaned, Denoiser, Enlarger, head_path
from aecodec.tasks.index import FORMS, Entry, Index
from aecodec.tasks.layout import METHODS, lay_out
from aecodec.tasks.page import MOST, Point, draw_map, map_page

__all__ = [
    "FORMS",
    "HIGHEST_SIGMA",
    "METHODS",
    "MOST",
    "Cleaned",
    "Denoiser",
    "Embedder",
    "Enlarger",
    "Entry",
    "Index",
    "Point",
    "Seen",
    "Source",
    "draw_map",
    "embed",
    "head_path",
    "lay_out",
    "map_page",
]
