"""What .aec files are good for besides showing them: search, maps, defects, denoising, enlargement, sampling."""

from aecodec.tasks.anomaly import ANOMALY_METHODS, AnomalyDetector, Finding, Study
from aecodec.tasks.embedding import Embedder, Seen, embed
from aecodec.tasks.enhance import HIGHEST_SIGMA, Cleaned, Denoiser, Enlarger, head_path
from aecodec.tasks.generation import Coded, Frame, interpolate, sample, sample_file, side_by_side, strip
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
    "Coded",
    "Embedder",
    "Enlarger",
    "Entry",
    "Finding",
    "Study",
    "Frame",
    "Index",
    "Point",
    "Seen",
    "Source",
    "draw_map",
    "embed",
    "head_path",
    "interpolate",
    "lay_out",
    "map_page",
    "sample",
    "sample_file",
    "side_by_side",
    "strip",
]
