"""ViTDet of transformers, and a detector's file of detectron2's names."""

import torch
import transformers as hf
from make_vitdet import Pyramid, detectron2_name

from .case import Case, fill, first, formula_input, in_float64

MADE_BY = f"transformers {hf.__version__}"
SIZES = {"hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 3, "mlp_ratio": 2, "patch_size": 8,
         "image_size": 48, "pretrain_image_size": 32}


def make(root):
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    for name, kind, shape, about, more in (
            ("vitdet_model", hf.VitDetModel, [1, 3, 56, 40], "windows that are padded, tables of another size, convolutions",
             {"window_size": 3, "window_block_indices": [0, 2], "residual_block_indices": [1],
              "use_relative_position_embeddings": True}),
            ("vitdet_backbone", hf.VitDetBackbone, [1, 3, 48, 48], "no relative positions: only config.json tells windows",
             {"window_size": 2, "window_block_indices": [1], "qkv_bias": False})):
        case = Case(root, name)
        model = fill(kind(hf.VitDetConfig(**SIZES, **more)), name, 0.3)
        model.save_pretrained(case.folder / "model")
        out = in_float64(model, formula_input(shape))
        embedding = out.last_hidden_state if kind is hf.VitDetModel else out.feature_maps[-1]
        case.loads(about, f"{MADE_BY} {kind.__name__}", "model", "vitdet", "", shape, embedding=first(embedding))

    case = Case(root, "vitdet_detectron2")
    sizes = SIZES | {"patch_size": 16, "window_size": 2, "window_block_indices": [0, 2],
                     "use_relative_position_embeddings": True}
    model = fill(Pyramid(hf.VitDetModel(hf.VitDetConfig(**sizes)), 12, 8), case.name, 0.3)
    state = {"backbone." + detectron2_name(name): tensor for name, tensor in model.state_dict().items()}
    state |= {"pixel_mean": torch.zeros(3, 1, 1), "roi_heads.box_predictor.bias": torch.zeros(4)}
    torch.save({"model": state, "iteration": 3}, case.folder / "detector.pth")
    shape = [1, 3, 64, 96]
    coarsest = in_float64(model, formula_input(shape))["p5"]
    case.loads("a detector's file: the backbone, and beside it the pyramid, whose coarsest map this is",
               f"{MADE_BY} VitDetModel and torch's layers, under detectron2's names", "detector.pth", "vitdet",
               "backbone.net.", shape, embedding=first(coarsest))
