"""What .aec files are good for besides showing them: search, maps, defects, pictures without noise or larger."""

from aecodec.tasks.anomaly import ANOMALY_METHODS, AnomalyDetector, Finding
from aecodec.tasks.embedding import Embedder, Seen, embed
from aecodec.tasks.enhance import HIGHEST_SIGMA, Cleaned, Denoiser, Enlarger, head_path
from aecodec.tasks.index import FORMS, Entry, Index
from aecodec.tasks.layout import METHODS, lay_out
from aecodec.tasks.page import MOST, Point, draw_map, map_page
from aecodec.tasks.pictures import Source

__all__ = [
    "ANOMALY_METHODS",
    "FORMS",
    "HIGHEST_SIGMA",
    "METHODS",
    "MOST",
    "AnomalyDetector",
    "Cleaned",
    "Denoiser",
    "Embedder",
    "Enlarger",
    "Entry",
    "Finding",
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
