"""PVT of transformers, and Twins of timm."""

import transformers as hf

from . import timm_folders
from .transformers_folders import BIRDS, Folder, labels

SIZES = {"image_size": 32, "hidden_sizes": [8, 12, 10, 16], "depths": [1, 2, 1, 1], "num_attention_heads": [1, 3, 2, 4],
         "mlp_ratios": [2, 1, 2, 1], "sequence_reduction_ratios": [4, 2, 1, 1]}
TWINS = {"img_size": 32, "embed_dims": (8, 12, 10, 16), "depths": (2, 1, 3, 1), "num_heads": (1, 3, 2, 4),
         "mlp_ratios": (2, 1, 2, 1), "sr_ratios": (4, 2, 1, 1)}


def make(root):
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    Folder(root, "pvt_classifier", hf.PvtForImageClassification(hf.PvtConfig(**SIZES, num_labels=5, **labels(BIRDS))), 0.3
           ).checked().classifier("one epsilon for all norms, 1e-6; heads that config.json alone tells", "pvt", "pvt.",
                                  names=BIRDS)
    Folder(root, "pvt_headless", hf.PvtModel(hf.PvtConfig(**SIZES, layer_norm_eps=1e-3, qkv_bias=False)), 0.3
           ).checked().headless("layer_norm_eps 1e-3, in the norms of patches and reduced keys too; no bias of q, k and v",
                                "pvt", "", 1)
    timm_folders.Folder(root, "timm_twins_pcpvt", "twins_pcpvt_small", 32, quiet=0.3, num_classes=3, **TWINS).classifier(
        "epsilon 1e-5 and 1e-6; heads by model_args", "twins_pcpvt")
    timm_folders.Folder(root, "timm_twins_svt", "twins_svt_small", 32, quiet=0.3, num_classes=3,
                        wss=(3, 2, 2, 2), **TWINS).classifier(
        "windows by model_args, not of 7 by the name; a grid of 8 x 8 in windows of 3", "twins_svt")
