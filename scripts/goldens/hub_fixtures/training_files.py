"""Files that training leaves: one state dict among other things, under a prefix. Names are timm's unless said."""

import argparse
import copy
import functools
import hashlib
import io
import pickle
import pickletools
import struct

import timm
import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from timm.models.convit import ConVit
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from .case import Case, features, fill, first, formula_input, in_float64, numbers
from .irpe import with_irpe

SHAPE = [1, 3, 16, 16]
SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 1, "mlp_ratio": 1.25}
VIT = f"timm {timm.__version__} VisionTransformer"


def vit(name, cls=VisionTransformer, **more):
    return fill(cls(**(SIZES | more)), name)


def optimizer_state(model):
    """AdamW's after one step over the norms: moments under integer keys, as in every such file."""
    model = copy.deepcopy(model)
    norms = [tensor for name, tensor in model.named_parameters() if "norm" in name]
    optimizer = torch.optim.AdamW(norms, lr=1e-3)
    for tensor in norms:
        tensor.grad = torch.ones_like(tensor)
    optimizer.step()
    return optimizer.state_dict()


def with_prefix(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def projector(case, width, prefix, names=("0", "2")):
    generator = case.generator()
    out = {}
    for name in names:
        out[f"{prefix}.{name}.weight"] = torch.randn(12, width, generator=generator)
        out[f"{prefix}.{name}.bias"] = torch.randn(12, generator=generator)
        width = 12
    return out


def save_legacy(content, path):
    """torch's form before 1.6. It names storages by their addresses and sorts by them: here numbers in their order."""
    made = io.BytesIO()
    torch.save(content, made, _use_new_zipfile_serialization=False)
    data = made.getvalue()
    made.seek(0)
    for _ in range(4):  # magic, protocol, system, and what was saved
        for _ in pickletools.genops(made):
            pass
    body = data[:made.tell()]
    storages = {}
    for key in pickle.load(made):
        count = struct.unpack("<q", made.read(8))[0]
        storages[key] = struct.pack("<q", count) + made.read(4 * count)  # all are float32

    def text(key):
        return b"X" + struct.pack("<I", len(key)) + key.encode()

    ordered = sorted(storages, key=lambda key: body.index(text(key)))
    names = {key: str(94000000000000 + 64 * i) for i, key in enumerate(ordered)}
    for key, name in names.items():
        body = body.replace(text(key), text(name))
    path.write_bytes(body + pickle.dumps(list(names.values()), 2) + b"".join(storages[key] for key in ordered))
    torch.load(path)


class File:
    """A case with one file; `model` is what it must give."""

    def __init__(self, root, name, model=None, file="checkpoint.pth", made_by=VIT, **more):
        self.case = Case(root, name)
        self.model = model or vit(name, **({"num_classes": 3} | more))
        self.made_by = f"{made_by}; torch {torch.__version__.split('+')[0]} save"
        self.file = file

    def save(self, content):
        path = self.case.folder / self.file
        torch.save(content, path)
        if "{sha256}" in self.file:  # as timm and torch name what they publish
            self.file = self.file.format(sha256=hashlib.sha256(path.read_bytes()).hexdigest()[:8])
            path.rename(self.case.folder / self.file)
        return self

    def state(self):
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def classifier(self, about, prefix, family="vit", **more):
        logits = in_float64(self.model, formula_input(SHAPE))
        self.case.loads(about, self.made_by, self.file, family, prefix, SHAPE, num_classes=logits.shape[1],
                        answer="one_class", logits=numbers(logits)["values"], **more)

    def headless(self, about, prefix, family="vit", **more):
        with torch.no_grad():
            tokens = copy.deepcopy(self.model).double().forward_features(formula_input(SHAPE).double())
        self.case.loads(about, self.made_by, self.file, family, prefix, SHAPE,
                        **features(tokens, self.model.num_prefix_tokens), **more)


def frameworks(root):
    made = File(root, "lightning", num_classes=5, file="last.ckpt")
    made.save({"epoch": 3, "global_step": 120, "pytorch-lightning_version": "2.5.0",
               "state_dict": with_prefix("model.", made.state()), "loops": {"fit_loop": {"state_dict": {}}},
               "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.5)}},
               "optimizer_states": [optimizer_state(made.model)], "lr_schedulers": [],
               "hparams_name": "kwargs", "hyper_parameters": {"lr": 1e-3, "num_classes": 5}})
    made.classifier("Lightning: state_dict with the prefix model.", "model.")

    made = File(root, "lightning_criterion", num_classes=7, file="last.ckpt")
    made.save({"epoch": 0, "global_step": 0, "pytorch-lightning_version": "2.5.0",
               "state_dict": with_prefix("net.", made.state()) | {
                   "criterion.weight": torch.linspace(0.5, 2, 7), "train_acc.tp": torch.zeros(7, dtype=torch.int64)},
               "optimizer_states": [], "lr_schedulers": [], "hyper_parameters": {}})
    made.classifier("a loss and a metric with tensors of their own stand beside the model", "net.")

    made = File(root, "ddp")
    made.save({"epoch": 1, "state_dict": with_prefix("module.", made.state()), "best_acc1": 0.5})
    made.classifier("DistributedDataParallel: module.", "module.")
    made = File(root, "compiled", num_classes=5)
    made.save(with_prefix("_orig_mod.", made.state()))
    made.classifier("torch.compile: _orig_mod., nothing around it", "_orig_mod.")
    made = File(root, "compiled_ddp", num_classes=7, embed_dim=18)
    made.save({"model": with_prefix("module._orig_mod.", made.state())})
    made.classifier("both: module._orig_mod.", "module._orig_mod.")

    averaged = vit("swa", num_classes=3)
    made = File(root, "swa", averaged, made_by=f"{VIT}; torch.optim.swa_utils AveragedModel")
    made.save(torch.optim.swa_utils.AveragedModel(averaged).state_dict())
    made.classifier("stochastic weight averaging: n_averaged and module.", "module.")

    raw = vit("timm_training_raw", num_classes=7, depth=1)
    made = File(root, "timm_training", num_classes=7, depth=1, file="model_best.pth.tar")
    content = {"epoch": 11, "arch": "vit_tiny_patch16_224", "state_dict": raw.state_dict(),
               "optimizer": optimizer_state(raw), "version": 2, "args": argparse.Namespace(lr=0.1, model="vit_tiny"),
               "amp_scaler": {"scale": 65536.0, "_growth_tracker": 12}, "state_dict_ema": made.state(), "metric": 70.5}
    made.save(content)
    made.classifier("timm's training script: state_dict and state_dict_ema differ, the average wins", "")
    made = File(root, "timm_training_key", raw, file="../timm_training/model_best.pth.tar")
    made.classifier("the same file, asked for the other", "", command={"key": "state_dict"})

    made = File(root, "legacy_pickle")
    save_legacy({"model": made.state(), "epoch": 4}, made.case.folder / made.file)
    made.classifier("the form before torch 1.6: stacked pickles", "")


def self_supervised(root):
    name = "dino"
    teacher, student = (vit(key, num_classes=0, depth=1) for key in (name, "dino_student"))
    made = File(root, name, teacher)
    head = projector(made.case, 16, "head.mlp") | {"head.last_layer.weight_g": torch.ones(16, 1),
                                                   "head.last_layer.weight_v": torch.full((16, 12), 0.25)}
    made.save({"student": with_prefix("module.backbone.", student.state_dict()) | with_prefix("module.", head),
               "teacher": with_prefix("backbone.", teacher.state_dict()) | head,
               "optimizer": optimizer_state(student), "epoch": 8, "args": argparse.Namespace(arch="vit_tiny"),
               "fp16_scaler": None, "dino_loss": {"center": torch.zeros(1, 16)}})
    made.headless("DINO: student and teacher with projection heads; the teacher's backbone wins", "backbone.")
    made = File(root, "dino_student", student, file="../dino/checkpoint.pth")
    made.headless("the same file, asked for the student", "module.backbone.", command={"key": "student"})

    made = File(root, "dino_backbone", vit("dino_backbone", num_classes=0, embed_dim=20),
                file="dino_deitsmall8_pretrain.pth")
    made.save(made.state()).headless("a bare backbone, no head, nothing around it", "")

    made = File(root, "mae_pretraining", vit("mae_pretraining", num_classes=0), file="mae_pretrain_vit_base_full.pth")
    decoder = VisionTransformer(**(SIZES | {"embed_dim": 12, "depth": 1, "num_classes": 0}))
    fill(decoder, "mae_decoder")
    beside = {"mask_token": torch.zeros(1, 1, 12), "decoder_pos_embed": decoder.pos_embed.detach().clone(),
              "decoder_embed.weight": torch.full((12, 16), 0.1), "decoder_embed.bias": torch.zeros(12),
              "decoder_pred.weight": torch.full((48, 12), 0.1), "decoder_pred.bias": torch.zeros(48)}
    for key, tensor in decoder.state_dict().items():
        if key.startswith(("blocks.", "norm.")):
            beside["decoder_" + key] = tensor
    made.save({"model": made.state() | beside, "optimizer": optimizer_state(made.model), "epoch": 799, "scaler": {},
               "args": argparse.Namespace(mask_ratio=0.75)})
    made.headless("MAE with its decoder; every patch is kept", "")

    made = File(root, "simclr", vit("simclr", num_classes=0))
    made.save({"state_dict": with_prefix("encoder.backbone.", made.state()) | projector(made.case, 16, "projector"),
               "epoch": 100})
    made.headless("the backbone under two levels, a projector beside", "encoder.backbone.")

    query, momentum = (vit(key, num_classes=0, depth=1) for key in ("moco", "moco_momentum"))
    made = File(root, "moco", query)
    made.save({"epoch": 300, "arch": "vit_tiny", "state_dict":
               with_prefix("module.base_encoder.", query.state_dict()) | projector(made.case, 16, "module.base_encoder.head")
               | with_prefix("module.momentum_encoder.", momentum.state_dict())
               | projector(made.case, 16, "module.momentum_encoder.head") | projector(made.case, 12, "module.predictor")})
    made.headless("MoCo v3: two encoders of equal shape that differ; the first of them, both named; the heads under "
                  "head. are projections", "module.base_encoder.", notes=["base_encoder", "momentum_encoder"])

    made = File(root, "two_towers", vit("two_towers", num_classes=0))
    generator = made.case.generator()
    text = {"text.token_embedding.weight": torch.randn(40, 16, generator=generator),
            "text.positional_embedding": torch.randn(8, 16, generator=generator)}
    for layer, width in (("ln_1", None), ("attn.out_proj", 16), ("ln_2", None), ("mlp.c_fc", 24)):
        key = f"text.transformer.resblocks.0.{layer}"
        text[key + ".weight"] = torch.ones(16) if width is None else torch.randn(width, 16, generator=generator)
        text[key + ".bias"] = torch.zeros(width or 16)
    made.save(text | with_prefix("image_encoder.", made.state()) | {"logit_scale": torch.tensor(4.6)})
    made.headless("a text encoder stands beside, before it in the file", "image_encoder.")


def official_names(root):
    made = File(root, "deit_original", num_classes=5, file="deit_tiny_patch16_224-{sha256}.pth")
    made.save({"model": made.state()}).classifier("DeiT's release: {\"model\": …}", "")
    distilled = vit("deit_original_distilled", VisionTransformerDistilled, num_classes=5)
    made = File(root, "deit_original_distilled", distilled, made_by=f"timm {timm.__version__} VisionTransformerDistilled",
                file="deit_tiny_distilled_patch16_224-{sha256}.pth")
    made.save({"model": made.state()}).classifier("two tokens, two heads, averaged", "", family="deit")
    made = File(root, "mean_pool", vit("mean_pool", num_classes=3, global_pool="avg"))
    made.save({"model": made.state()}).classifier("fc_norm: the head reads the normed mean of the patches", "")
    made = File(root, "half_precision", num_classes=3, embed_dim=24)
    made.model.half().float()
    made.save({name: tensor.half() for name, tensor in made.model.state_dict().items()})
    made.classifier("float16 tensors; the numbers are those of the rounded weights", "")

    name = "convit_training"
    model = fill(ConVit(img_size=16, patch_size=4, embed_dim=6, depth=2, num_heads=3, local_up_to_layer=1,
                        mlp_ratio=1.5, num_classes=5), name)
    model(formula_input(SHAPE))  # fills the table of offsets, which the file holds
    made = File(root, name, model, made_by=f"timm {timm.__version__} ConVit")
    made.save({"model": with_prefix("module.", made.state()), "epoch": 2})
    made.classifier("one gated block and one plain; heads by pos_proj", "module.", family="convit")

    name = "irpe_release"
    model = fill(with_irpe(VisionTransformer(**(SIZES | {"num_heads": 2, "num_classes": 5})), (4, 4), shared=False), name)
    with torch.no_grad():
        for block in model.blocks:  # so that they act
            for side in (block.attn.rpe_q, block.attn.rpe_k, block.attn.rpe_v):
                side.lookup_table_weight *= 10
    made = File(root, name, model, made_by=f"{VIT} with iRPE by its formulas",
                file="deit_small_patch16_224_ctx_product_50_shared_qkv.pth")
    made.save({"model": made.state()})
    made.classifier("iRPE on q, k and v, tables of each head, under the name of a variant of other sizes", "",
                    family="deit_irpe")


def segment_anything(root):
    name = "sam_fine_tuned"
    norm = functools.partial(torch.nn.LayerNorm, eps=1e-6)
    model = Sam(
        ImageEncoderViT(img_size=64, patch_size=8, embed_dim=16, depth=2, num_heads=2, mlp_ratio=2, out_chans=16,
                        norm_layer=norm, use_rel_pos=True, window_size=3, global_attn_indexes=[1]),
        PromptEncoder(embed_dim=16, image_embedding_size=(8, 8), input_image_size=(64, 64), mask_in_chans=4),
        MaskDecoder(transformer_dim=16, transformer=TwoWayTransformer(depth=1, embedding_dim=16, mlp_dim=20, num_heads=8),
                    iou_head_depth=2, iou_head_hidden_dim=12))
    fill(model, name, 0.3)
    case = Case(root, name)
    state = with_prefix("sam.", model.state_dict())
    torch.save({"model": state | {"sam.pixel_mean": model.pixel_mean, "sam.pixel_std": model.pixel_std},
                "optimizer": optimizer_state(model.image_encoder), "epoch": 7}, case.folder / "finetuned.pth")
    shape, point = [1, 3, 64, 64], [20.0, 41.0]
    with torch.no_grad():
        embedding = model.image_encoder(formula_input(shape))
        sparse, dense = model.prompt_encoder(points=(torch.tensor([[point]]), torch.tensor([[1]])), boxes=None, masks=None)
        masks, scores = model.mask_decoder(
            image_embeddings=embedding, image_pe=model.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense, multimask_output=True)
    case.loads("a fine-tuned state under model and the prefix sam.; one point, three masks; eight heads in the decoder",
               "segment_anything 1.0 Sam; torch save", "finetuned.pth", "sam", "sam.", shape, embedding=first(embedding),
               point={"x": point[0], "y": point[1], "label": 1}, iou_scores=numbers(scores[0]), masks=first(masks[0]))


def make(root):
    frameworks(root)
    self_supervised(root)
    official_names(root)
    segment_anything(root)
