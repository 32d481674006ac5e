"""What .aec files are good for besides showing them: search, near-duplicates, maps, and finding what is not right."""

from aecodec.tasks.anomaly import ANOMALY_METHODS, AnomalyDetector, Finding
from aecodec.tasks.embedding import Embedder, Seen, embed
from aecodec.tasks.index import FORMS, Entry, Index
from aecodec.tasks.layout import METHODS, lay_out
from aecodec.tasks.page import MOST, Point, draw_map, map_page
from aecodec.tasks.pictures import Source

__all__ = [
    "ANOMALY_METHODS",
    "FORMS",
    "METHODS",
    "MOST",
    "AnomalyDetector",
    "Embedder",
    "Entry",
    "Finding",
    "Index",
    "Point",
    "Seen",
    "Source",
    "draw_map",
    "embed",
    "lay_out",
    "map_page",
]
