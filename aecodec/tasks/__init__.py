"""What .aec files are good for besides showing them: search, near-duplicates, maps, sampling and interpolation."""

from aecodec.tasks.embedding import Embedder, Seen, Source, embed
from aecodec.tasks.generation import Coded, Frame, interpolate, sample, sample_file, side_by_side, strip
from aecodec.tasks.index import FORMS, Entry, Index
from aecodec.tasks.layout import METHODS, lay_out
from aecodec.tasks.page import MOST, Point, draw_map, map_page

__all__ = [
    "FORMS",
    "METHODS",
    "MOST",
    "Coded",
    "Embedder",
    "Entry",
    "Frame",
    "Index",
    "Point",
    "Seen",
    "Source",
    "draw_map",
    "embed",
    "interpolate",
    "lay_out",
    "map_page",
    "sample",
    "sample_file",
    "side_by_side",
    "strip",
]
