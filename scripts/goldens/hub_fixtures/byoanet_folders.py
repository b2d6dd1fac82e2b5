"""BoTNet and HaloNet of timm, narrow: width_factor and stem_chs are its words for other widths."""

from .timm_folders import Folder

NARROW = {"num_classes": 3, "width_factor": 1 / 32, "stem_chs": 512}


def make(root):
    Folder(root, "timm_botnet", "botnet26t_256", 64, quiet=0.3, img_size=64, **NARROW).classifier(
        "maps of 4 x 4 and 2 x 2, which the tables tell", "botnet")
    Folder(root, "timm_sehalonet", "sehalonet33ts", 256, quiet=0.3, **NARROW).classifier(
        "squeeze-and-excitation, a convolution behind the last stage", "halonet")
