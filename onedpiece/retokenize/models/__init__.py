"""Vision transformers that the reducers' papers report on and timm has not: T2T-ViT and LV-ViT.

Own code; parameters are named and shaped as in the released files, which load strictly.
"""

from onedpiece.retokenize.models.lv_vit import LvVit, lv_vit
from onedpiece.retokenize.models.t2t_vit import T2tVit, t2t_vit

__all__ = ["LvVit", "T2tVit", "lv_vit", "t2t_vit"]
