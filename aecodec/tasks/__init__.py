"""What .aec files are good for besides showing them: search, near-duplicates and maps of pictures."""

from aecodec.tasks.embedding import Embedder, Seen, Source, embed
from aecodec.tasks.index import FORMS, Entry, Index
from aecodec.tasks.layout import METHODS, lay_out
from aecodec.tasks.page import MOST, Point, draw_map, map_page

__all__ = [
    "FORMS",
    "METHODS",
    "MOST",
    "Embedder",
    "Entry",
    "Index",
    "Point",
    "Seen",
    "Source",
    "draw_map",
    "embed",
    "lay_out",
    "map_page",
]
