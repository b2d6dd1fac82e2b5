"""Folders that timm's save_for_hf writes, and what is near them."""

import json

import timm
import torch
import transformers as hf
from timm.models import save_for_hf

from .case import Case, edit_json, features, fill, first, formula_input, in_float64, numbers

MADE_BY = f"timm {timm.__version__}"
PLAIN = "vit_tiny_patch16_224"
SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 18, "depth": 2, "num_heads": 3, "mlp_ratio": 1.5}
SWIN = {"img_size": 32, "embed_dim": 12, "depths": (2, 1), "num_heads": (2, 4), "window_size": 4, "mlp_ratio": 1.5}
SAM = {"img_size": 64, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2, "window_size": 3,
       "global_attn_indexes": (1,)}
PVT_V2 = {"num_classes": 3, "embed_dims": (8, 8, 12, 12), "depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 3),
          "mlp_ratios": (2, 2, 1.5, 1)}
TREES = ["ash", "elm", "fir", "oak", "yew"]


class Folder:
    """A case with one timm model in its folder `model`."""

    def __init__(self, root, name, architecture, size=16, channels=3, quiet=0.03, safe=True, data_config=None,
                 **arguments):
        self.case = Case(root, name)
        self.model = fill(timm.create_model(architecture, **arguments), name, quiet)
        self.path = self.case.folder / "model"
        save_for_hf(self.model, self.path, safe_serialization=safe, data_config=data_config)
        self.made_by = f"{MADE_BY} {type(self.model).__name__} {architecture}"
        self.shape = [1, channels, *(size if isinstance(size, tuple) else (size, size))]
        self.picture = formula_input(self.shape)
        if safe is True:
            again = timm.create_model(f"local-dir:{self.path}", pretrained=True).eval()
            with torch.no_grad():
                a, b = self.model(self.picture), again(self.picture)
            assert torch.allclose(a, b, atol=1e-5 * float(a.abs().max())), name

    def classifier(self, about, family="vit", prefix="", **more):
        logits = in_float64(self.model, self.picture)
        self.case.loads(about, self.made_by, "model", family, prefix, self.shape, num_classes=logits.shape[1],
                        answer="one_class", logits=numbers(logits)["values"], **more)

    def headless(self, about, family="vit"):
        self.model.double()
        with torch.no_grad():
            tokens = self.model.forward_features(self.picture.double())
        self.case.loads(about, self.made_by, "model", family, "", self.shape,
                        **features(tokens, self.model.num_prefix_tokens))

    def embedding(self, about, family):
        with torch.no_grad():
            embedding = self.model.forward_features(self.picture)
        self.case.loads(about, self.made_by, "model", family, "", self.shape, embedding=first(embedding))


def vit_folders(root):
    named = Folder(root, "timm_vit", PLAIN, num_classes=5, **SMALL)
    edit_json(named.path / "config.json", lambda config: config | {"label_names": TREES})
    named.classifier("a plain model with names of its classes", classes=TREES)
    Folder(root, "timm_vit_headless", PLAIN, num_classes=0, **SMALL).headless("num_classes 0: no head")
    Folder(root, "timm_vit_grey", PLAIN, channels=1, in_chans=1, num_classes=3, **SMALL).classifier(
        "in_chans 1; mean and std have one number")
    Folder(root, "timm_vit_48", PLAIN, size=48, num_classes=3, **(SMALL | {"img_size": 48, "patch_size": 8, "depth": 1})
           ).classifier("img_size 48")
    Folder(root, "timm_vit_heads", PLAIN, num_classes=7, **(SMALL | {"embed_dim": 24, "num_heads": 6, "depth": 1})
           ).classifier("six heads of four channels, which model_args alone tells")
    Folder(root, "timm_vit_mean_pool", PLAIN, num_classes=3, global_pool="avg", **SMALL).classifier(
        "global_pool avg: fc_norm after the mean of the patches, no norm before it")
    Folder(root, "timm_vit_mean_pool_norm", PLAIN, num_classes=3, global_pool="avg", fc_norm=False, final_norm=True,
           **(SMALL | {"depth": 1})).classifier("global_pool avg with the norm before the mean: no tensor tells the pool")
    Folder(root, "timm_deit_distilled", "deit_tiny_distilled_patch16_224", num_classes=3, **SMALL).classifier(
        "two tokens, two heads, averaged", "deit")
    Folder(root, "timm_deit3", "deit3_small_patch16_224", num_classes=3, **(SMALL | {"depth": 1})).classifier(
        "LayerScale, and a position table without a row for cls", "deit")
    Folder(root, "timm_dinov2", "vit_small_patch14_dinov2", num_classes=0, **(SMALL | {"depth": 1})).headless(
        "LayerScale, no mask token", "dinov2")
    Folder(root, "timm_dinov2_registers", "vit_small_patch14_reg4_dinov2", num_classes=0, **SMALL).headless(
        "four registers; the position table has no row for cls", "dinov2")


def relative_position_folders(root):
    tiny = {"num_classes": 3} | SMALL
    Folder(root, "timm_beit", "beit_base_patch16_224", **tiny).classifier(
        "a bias table a block; q_bias and v_bias; the mean of the patches is normed", "beit")
    Folder(root, "timm_vit_relpos", "vit_relpos_base_patch16_cls_224", **tiny).classifier(
        "an MLP of the displacement in every block, which the class token has no part in", "vit_relpos")
    Folder(root, "timm_vit_srelpos", "vit_srelpos_small_patch16_224", **tiny).classifier(
        "one MLP for all blocks; the mean of normed tokens", "vit_relpos")
    Folder(root, "timm_vit_relpos_rpn", "vit_relpos_small_patch16_rpn_224", quiet=0.3, **(tiny | {"depth": 1})).classifier(
        "norms behind the branches", "vit_relpos")


def rotary_folders(root):
    tiny = {"num_classes": 3} | SMALL | {"embed_dim": 24}
    Folder(root, "timm_eva02", "eva02_tiny_patch14_224", **tiny).classifier(
        "SwiGLU in one matrix; coordinates scaled to 16 x 16; heads of 8 channels by model_args", "eva02")
    Folder(root, "timm_eva02_sub_norms", "eva02_base_patch14_448", (24, 16), **(tiny | {"img_size": (24, 16)})).classifier(
        "q, k and v apart, SwiGLU's halves apart, a norm inside; a picture that is no square", "eva02")
    Folder(root, "timm_eva02_clip", "eva02_large_patch14_clip_224", **(tiny | {"depth": 1})).classifier(
        "a norm of the heads, the class token's projection", "eva02")
    Folder(root, "timm_vit_rope", "vit_small_patch16_rope_224", (12, 20), dynamic_img_size=True, **tiny).classifier(
        "x first, neighbours turn; a picture of another size and no square", "vit_rope")
    Folder(root, "timm_vit_rope_ape", "vit_small_patch16_rope_ape_224", **(tiny | {"depth": 1})).classifier(
        "the tensors of DeiT III, whose name alone says that they turn", "vit_rope")
    Folder(root, "timm_vit_rope_mixed", "vit_small_patch16_rope_mixed_224", **tiny).classifier(
        "learned frequencies of both axes", "vit_rope")
    Folder(root, "timm_vit_rope_registers", "vit_betwixt_patch16_rope_reg4_gap_256", **(tiny | {"depth": 1})).classifier(
        "four registers that do not turn, no class token; the mean of the patches", "vit_rope")
    case = Case(root, "timm_refused_dinov3")
    model = fill(timm.create_model("vit_small_patch16_dinov3_qkvb", **(SMALL | {"embed_dim": 24, "depth": 1})), case.name)
    save_for_hf(model, case.folder / "model", safe_serialization=True)
    case.refused("coordinates of DINOv3, which no tensor shows", f"{MADE_BY} Eva vit_small_patch16_dinov3_qkvb", "model",
                 ["rotary positions"], family="vit_rope")


def other_families(root):
    Folder(root, "timm_swin", "swin_tiny_patch4_window7_224", 32, quiet=0.3, num_classes=3, **SWIN).classifier(
        "windows of 4 by model_args, not of 7 by the name", "swin")
    Folder(root, "timm_swin_v2", "swinv2_tiny_window8_256", 32, quiet=0.3, num_classes=3,
           **(SWIN | {"depths": (2, 1), "embed_dim": 8, "mlp_ratio": 1.0})).classifier(
        "windows of 4 by model_args, not of 8 by the name; no tensor tells", "swin_v2")
    Folder(root, "timm_convit", "convit_tiny", num_classes=3, img_size=16, patch_size=4, embed_dim=6, depth=2, num_heads=3,
           local_up_to_layer=1, mlp_ratio=1.5).classifier("one gated block and one plain", "convit")
    Folder(root, "timm_tiny_vit", "tiny_vit_5m_224", 64, quiet=0.3, num_classes=3, embed_dims=(8, 12, 16, 24),
           depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 3), window_sizes=(2, 2, 4, 2), mlp_ratio=1.0,
           pretrained_cfg_overlay={"input_size": (3, 64, 64)}).classifier(
        "batch norms with statistics; the size is in pretrained_cfg alone", "tiny_vit")
    Folder(root, "timm_pvt_v2", "pvt_v2_b0", 45, quiet=0.3, sr_ratios=(5, 2, 1, 1), **PVT_V2).classifier(
        "widths, heads and reductions by model_args; a reduction by 5 leaves out two rows of twelve", "pvt_v2")
    Folder(root, "timm_pvt_v2_linear", "pvt_v2_b2_li", 45, quiet=0.3, **PVT_V2).classifier(
        "linear attention: keys of 7 x 7 means, of grids of 12, 6, 3 and 2", "pvt_v2")
    Folder(root, "timm_samvit", "samvit_base_patch16", 64, quiet=0.3, num_classes=0, neck_chans=12, **SAM).embedding(
        "Segment Anything's encoder with its neck", "sam_image_encoder")
    Folder(root, "timm_samvit_classifier", "samvit_base_patch16_224", 64, quiet=0.3, num_classes=3, **SAM).classifier(
        "no neck but a norm, pooled, with a head", "sam_image_encoder")


def near_them(root):
    one = SMALL | {"depth": 1}
    Folder(root, "timm_pytorch_model_bin", PLAIN, safe=False, num_classes=3, **one).classifier("pytorch_model.bin")
    made = Folder(root, "timm_both_files", PLAIN, safe="both", num_classes=3, **one)
    state = torch.load(made.path / "pytorch_model.bin")
    state["head.bias"] = state["head.bias"] + 1
    torch.save(state, made.path / "pytorch_model.bin")
    made.classifier("both files, with different heads: safetensors wins", notes=["pytorch_model.bin"])

    made = Folder(root, "timm_flat_config", PLAIN, num_classes=5, **(one | {"embed_dim": 16, "num_heads": 1}))

    def flat(config):
        outer = {key: config[key] for key in ("architecture", "num_classes", "num_features")}
        inner = {key: value for key, value in config["pretrained_cfg"].items() if key not in ("tag", "custom_load")}
        return outer | inner | {"labels": TREES}

    edit_json(made.path / "config.json", flat)
    made.made_by += "; config.json changed by hand"
    made.classifier("config.json of 2022: one flat object without model_args; one head, as dim / 64 says", classes=TREES)

    case = Case(root, "timm_wrapper")
    arguments = one | {"embed_dim": 20, "num_heads": 4}
    config = hf.TimmWrapperConfig(architecture=PLAIN, model_args=arguments, id2label=dict(enumerate(TREES[:3])),
                                  label2id={name: i for i, name in enumerate(TREES[:3])})
    model = fill(hf.TimmWrapperForImageClassification(config), case.name)
    model.save_pretrained(case.folder / "model")
    shape = [1, 3, 16, 16]
    with torch.no_grad():
        logits = model.timm_model.double()(formula_input(shape).double())
    case.loads("a timm model saved by transformers: the prefix timm_model., names in label_names",
               f"transformers {hf.__version__} TimmWrapperForImageClassification", "model", "vit", "timm_model.", shape,
               num_classes=3, classes=TREES[:3], answer="one_class", logits=numbers(logits)["values"])

    for name, key, value in (("timm_refused_act", "act_layer", "quick_gelu"), ("timm_refused_qk_norm", "qk_norm", True)):
        case = Case(root, name)
        model = fill(timm.create_model(PLAIN, num_classes=3, **one, **{key: value}), name)
        save_for_hf(model, case.folder / "model", safe_serialization=True)
        words = json.loads((case.folder / "model" / "config.json").read_text())["model_args"]
        assert key in words, words
        case.refused(f"model_args has {key}, which changes the model", f"{MADE_BY} VisionTransformer {PLAIN}", "model",
                     [key], family="vit")


def make(root):
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    vit_folders(root)
    other_families(root)
    relative_position_folders(root)
    rotary_folders(root)
    near_them(root)
