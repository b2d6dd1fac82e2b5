"""Folders that transformers' save_pretrained writes."""

import copy
import hashlib
import json
import os
import random

import torch
import transformers as hf

from .case import Case, edit_json, features, fill, first, formula_input, in_float64, numbers

MADE_BY = f"transformers {hf.__version__}"
BIRDS = ["kite", "heron", "wren", "rook", "teal"]
SMALL = {"num_hidden_layers": 2, "image_size": 16, "patch_size": 4}


def made_by(model):
    return f"{MADE_BY} {type(model).__name__}"


def labels(names):
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def widths(asked):
    """Of a plain transformer: drawn, the same for the same request."""
    draw = random.Random(repr(sorted(asked.items())))
    heads, wide = draw.choice([(2, 8), (2, 9), (3, 6), (4, 4), (4, 5)])
    return {"hidden_size": heads * wide, "intermediate_size": draw.randrange(17, 32), "num_attention_heads": heads}


def vit(**more):
    return hf.ViTConfig(**(widths(more) | SMALL | more))


def swin(**more):
    return hf.SwinConfig(**({"embed_dim": 12, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4, "image_size": 32,
                             "patch_size": 4, "mlp_ratio": 2.0} | more))


def swin_v2(**more):
    return hf.Swinv2Config(**({"embed_dim": 12, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4,
                               "image_size": 32, "patch_size": 4, "mlp_ratio": 2.0} | more))


def same_after_reading(model, folder, picture, **options):
    """What was written gives the same numbers when the library reads it."""
    again = type(model).from_pretrained(folder, **options).float().eval()
    with torch.no_grad():
        a, b = model(picture)[0], again(picture)[0]
    assert torch.allclose(a, b, atol=1e-5 * float(a.abs().max())), folder


class Folder:
    """A case with one model saved into its folder `model`."""

    def __init__(self, root, name, model, quiet=0.03, **options):
        self.case = Case(root, name)
        self.model = fill(model, name, quiet)
        self.path = self.case.folder / "model"
        self.model.save_pretrained(self.path, **options)
        config = model.config
        size = config.image_size if isinstance(config.image_size, (list, tuple)) else [config.image_size] * 2
        self.shape = [1, config.num_channels, *size]
        self.picture = formula_input(self.shape)

    def checked(self, **options):
        same_after_reading(self.model, self.path, self.picture, **options)
        return self

    def classifier(self, about, family, prefix, *, names=None, answer="one_class", path="model", **more):
        logits = in_float64(self.model, self.picture).logits
        self.case.loads(about, made_by(self.model), path, family, prefix, self.shape, num_classes=logits.shape[1],
                        classes=names, answer=answer, logits=numbers(logits)["values"], **more)

    def headless(self, about, family, prefix, prefix_tokens, *, encoder=None, path="model", **more):
        tokens = in_float64(encoder or self.model, self.picture).last_hidden_state
        self.case.loads(about, made_by(self.model), path, family, prefix, self.shape, **features(tokens, prefix_tokens),
                        **more)


def vit_folders(root):
    new = hf.ViTForImageClassification
    made = Folder(root, "vit_5_labels", new(vit(**labels(BIRDS)))).checked()
    hf.ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(made.path)
    made.classifier("a classifier with names of its classes, and how its pictures are prepared", "vit", "vit.", names=BIRDS)
    made.case = Case(root, "vit_file_of_folder")
    made.classifier("a file given alone: the config.json beside it counts", "vit", "vit.", names=BIRDS,
                    path="../vit_5_labels/model/model.safetensors")

    Folder(root, "vit_2_labels", new(vit(num_labels=2))).checked().classifier(
        "two classes: id2label is not in config.json", "vit", "vit.")

    names = [f"fish {i}" for i in range(21)]
    made = Folder(root, "vit_21_labels_scrambled", new(vit(**labels(names)))).checked()

    def scramble(config):
        config["id2label"] = dict(sorted(config["id2label"].items(), key=lambda item: (int(item[0]) * 8) % 21))

    edit_json(made.path / "config.json", scramble)
    made.classifier("the numbers in id2label are in no order, neither as texts nor as numbers", "vit", "vit.",
                    names=names)

    Folder(root, "vit_headless_pooler", hf.ViTModel(vit())).checked().headless(
        "no classifier; the pooler's tensors are passed over", "vit", "", 1)
    Folder(root, "vit_no_qkv_bias", new(vit(qkv_bias=False, num_labels=3))).checked().classifier(
        "q, k and v without bias", "vit", "vit.")
    Folder(root, "vit_1_channel", new(vit(num_channels=1, num_labels=3))).checked().classifier(
        "grey pictures", "vit", "vit.")
    Folder(root, "vit_5_channels", new(vit(num_channels=5, num_labels=7))
           ).checked().classifier("pictures of five channels", "vit", "vit.")
    Folder(root, "vit_48_patch_12", new(vit(image_size=48, patch_size=12, num_labels=3, hidden_size=16,
                                            num_attention_heads=4))).checked().classifier(
        "another image and patch size; four heads of four channels, which config.json alone tells", "vit", "vit.")
    Folder(root, "vit_12x20", new(vit(image_size=[12, 20], num_labels=3))).checked().classifier(
        "a picture that is not square: the table has 15 rows, config.json tells 3 x 5", "vit", "vit.")
    Folder(root, "vit_epsilon", new(vit(layer_norm_eps=3e-4, num_labels=3))).checked().classifier(
        "layer_norm_eps 3e-4", "vit", "vit.")
    Folder(root, "vit_multi_label", new(vit(problem_type="multi_label_classification", **labels(BIRDS[:3])))
           ).checked().classifier("each class answers by itself", "vit", "vit.", names=BIRDS[:3], answer="each_class")
    Folder(root, "vit_regression", new(vit(problem_type="regression", num_labels=1))).checked().classifier(
        "one number, no class", "vit", "vit.", answer="values")

    config = vars_of(vit(), hf.ViTMAEConfig, decoder_hidden_size=16, decoder_num_hidden_layers=1,
                     decoder_num_attention_heads=2, decoder_intermediate_size=24)
    made = Folder(root, "vit_mae_pretraining", hf.ViTMAEForPreTraining(config))
    encoder = made.model.vit
    encoder.config.mask_ratio = 0.0
    picture = made.picture
    order = torch.arange(tokens_of(config)).double()[None]
    tokens = in_float64(encoder, picture, noise=order).last_hidden_state
    made.case.loads("the decoder's tensors are passed over; the numbers are those of mask_ratio 0 and of rising noise, "
                    "which leaves every patch at its place", made_by(made.model), "model", "vit", "vit.", made.shape,
                    **features(tokens, 1))
    made = Folder(root, "vit_msn_classifier", hf.ViTMSNForImageClassification(
        vars_of(vit(num_labels=3), hf.ViTMSNConfig, num_labels=3))).checked()
    made.classifier("some tensors have the prefix and some have none; epsilon 1e-6", "vit", "vit.")

    config = vars_of(vit(), hf.DeiTConfig, **labels(BIRDS[:3]))
    Folder(root, "deit_two_tokens_one_head", hf.DeiTForImageClassification(config)).checked().classifier(
        "two tokens before the patches and one head, on cls", "deit", "deit.", names=BIRDS[:3])
    Folder(root, "deit_with_teacher", hf.DeiTForImageClassificationWithTeacher(config)).checked().classifier(
        "both heads averaged", "deit", "deit.", names=BIRDS[:3])
    Folder(root, "deit_headless", hf.DeiTModel(config)).checked().headless(
        "two tokens, no head", "deit", "", 2)


def tokens_of(config):
    return (config.image_size // config.patch_size) ** 2


def vars_of(config, cls, **more):
    """The same sizes in another class's configuration."""
    keys = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size"]
    return cls(**({key: getattr(config, key) for key in keys} | more))


def dinov2_folders(root):
    small = {"hidden_size": 18, "num_attention_heads": 3, "mlp_ratio": 2} | SMALL
    Folder(root, "dinov2_headless", hf.Dinov2Model(hf.Dinov2Config(**small))).checked().headless(
        "no head", "dinov2", "", 1)
    Folder(root, "dinov2_classifier", hf.Dinov2ForImageClassification(hf.Dinov2Config(**small, **labels(BIRDS)))
           ).checked().classifier("the head reads cls and the mean of the patches", "dinov2", "dinov2.", names=BIRDS)
    Folder(root, "dinov2_registers_classifier", hf.Dinov2WithRegistersForImageClassification(
        hf.Dinov2WithRegistersConfig(**small, num_register_tokens=3, num_labels=7))).checked().classifier(
            "the registers are not in the mean", "dinov2", "dinov2_with_registers.")
    Folder(root, "dinov2_registers_headless", hf.Dinov2WithRegistersModel(
        hf.Dinov2WithRegistersConfig(**small, num_register_tokens=2))).checked().headless(
            "two registers, no head", "dinov2", "", 3)
    Folder(root, "dinov2_swiglu", hf.Dinov2Model(hf.Dinov2Config(**(small | {"use_swiglu_ffn": True})))
           ).checked().headless("SwiGLU in place of the MLP", "dinov2", "", 1)


def beit_folders(root):
    small = {"hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 20} | SMALL
    table = small | {"use_relative_position_bias": True}
    new = hf.BeitForImageClassification
    made = Folder(root, "beit_classifier", new(hf.BeitConfig(**table, **labels(BIRDS)))).checked()
    made.shape = [1, 3, 24, 20]
    made.picture = formula_input(made.shape)
    made.classifier("a table a block, of 4 x 4 patches, resized for 6 x 5; the mean of the patches is normed", "beit",
                    "beit.", names=BIRDS)
    Folder(root, "beit_12x20", new(hf.BeitConfig(**(table | {"image_size": [12, 20], "num_labels": 3})))).checked(
    ).classifier("a grid that is no square: the library resizes its table all the same, with the sides exchanged",
                 "beit", "beit.")
    Folder(root, "beit_cls", new(hf.BeitConfig(**small, use_shared_relative_position_bias=True, num_labels=3,
                                               use_absolute_position_embeddings=True, use_mean_pooling=False,
                                               layer_scale_init_value=0.0))).checked().classifier(
        "one table for all blocks and a position table; no LayerScale; the head reads cls", "beit", "beit.")
    made = Folder(root, "beit_pretraining", hf.BeitForMaskedImageModeling(hf.BeitConfig(
        **small, use_shared_relative_position_bias=True, use_mask_token=True, vocab_size=11)))
    tokens = in_float64(made.model.beit, made.picture).last_hidden_state
    made.case.loads("the head of pre-training is passed over; its norm, which has no prefix, is the encoder's",
                    made_by(made.model), "model", "beit", "beit.", made.shape,
                    **features(copy.deepcopy(made.model.layernorm).double()(tokens), 1))
    Folder(root, "data2vec_vision", hf.Data2VecVisionForImageClassification(hf.Data2VecVisionConfig(
        **table, num_labels=3))).checked().classifier("BEiT by another name", "beit", "data2vec_vision.")


def swin_folders(root):
    Folder(root, "swin_classifier", hf.SwinForImageClassification(swin(**labels(BIRDS))), 0.3).checked().classifier(
        "windows of 4, shifted in one block", "swin", "swin.", names=BIRDS)
    Folder(root, "swin_headless", hf.SwinModel(swin(image_size=48, window_size=3, depths=[1, 2])), 0.3).checked().headless(
        "no prefix; a grid of 12 x 12 in windows of 3", "swin", "", 0)
    Folder(root, "swin_absolute", hf.SwinForImageClassification(swin(use_absolute_embeddings=True, num_labels=3)),
           0.3).checked().classifier("with a position table", "swin", "swin.")
    Folder(root, "swin_epsilon", hf.SwinForImageClassification(swin(layer_norm_eps=1e-3, num_labels=3)), 0.1
           ).checked().classifier("layer_norm_eps 1e-3 in the blocks and the last norm; 1e-5 in the norms of patches "
                                  "and merging", "swin", "swin.")
    Folder(root, "swin_v2_classifier", hf.Swinv2ForImageClassification(swin_v2(num_labels=7)), 0.3).checked().classifier(
        "windows of 4, which config.json alone tells", "swin_v2", "swinv2.")
    Folder(root, "swin_v2_headless_pretrained_windows", hf.Swinv2Model(
        swin_v2(pretrained_window_sizes=[2, 2], depths=[1, 1])), 0.3).checked().headless(
            "pretrained_window_sizes 2: the bias network sees other coordinates", "swin_v2", "", 0)


def pvt_v2_folders(root):
    def config(**more):
        return hf.PvtV2Config(**({"image_size": 45, "hidden_sizes": [8, 8, 12, 12], "depths": [1, 2, 1, 1],
                                  "num_attention_heads": [1, 2, 2, 3], "sr_ratios": [5, 2, 1, 1],
                                  "mlp_ratios": [2, 2, 1, 1]} | more))

    Folder(root, "pvt_v2_classifier", hf.PvtV2ForImageClassification(config(**labels(BIRDS))), 0.1).checked().classifier(
        "epsilon 1e-6 in the norms of patches and reduced keys, too", "pvt_v2", "pvt_v2.", names=BIRDS)
    made = Folder(root, "pvt_v2_linear_headless", hf.PvtV2Model(
        config(linear_attention=True, qkv_bias=False, patch_sizes=[5, 3, 3, 3], layer_norm_eps=1e-3)), 0.1).checked()
    pictures = in_float64(made.model, made.picture).last_hidden_state  # (1, C, rows, columns)
    made.case.loads("linear attention, no bias of q, k and v, patches of 5, layer_norm_eps 1e-3", made_by(made.model),
                    "model", "pvt_v2", "", made.shape, **features(pictures.flatten(2).transpose(1, 2), 0))


def sam_folders(root):
    vision = {"hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 64, "patch_size": 8, "window_size": 3, "global_attn_indexes": [1], "num_pos_feats": 8,
              "mlp_dim": 32}
    case = Case(root, "sam_with_processor")
    model = hf.SamModel(hf.SamConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 20, "num_attention_heads": 2, "iou_head_hidden_dim": 12}))
    fill(model, case.name, 0.3)
    path = case.folder / "model"
    model.save_pretrained(path)
    image = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64},
             "mask_size": {"longest_edge": 16}, "mask_pad_size": {"height": 16, "width": 16}}
    hf.SamProcessor(hf.SamImageProcessorPil(**image)).save_pretrained(path)
    shape = [1, 3, 64, 64]
    picture, point = formula_input(shape), [20.0, 41.0]
    prompt = {"input_points": torch.tensor([[[point]]]), "input_labels": torch.tensor([[[1]]]), "multimask_output": True}
    with torch.no_grad():
        answer = model(pixel_values=picture, **prompt)
        again = hf.SamModel.from_pretrained(path).eval()(pixel_values=picture, **prompt)
        embedding = model.get_image_embeddings(picture)
    assert torch.allclose(answer.pred_masks, again.pred_masks, atol=1e-5)
    case.loads("all three parts, and a processor_config.json in place of preprocessor_config.json; one point, "
               "three masks; epsilon 1e-6 in the decoder", made_by(model), "model", "sam", "", shape,
               embedding=first(embedding), point={"x": point[0], "y": point[1], "label": 1},
               iou_scores=numbers(answer.iou_scores[0, 0]), masks=first(answer.pred_masks[0, 0]))

    case = Case(root, "sam_vision_model")
    encoder = fill(hf.SamVisionModel(hf.SamVisionConfig(**vision)), case.name, 0.3)
    encoder.save_pretrained(case.folder / "model")
    with torch.no_grad():
        embedding = encoder(picture).last_hidden_state
        again = hf.SamVisionModel.from_pretrained(case.folder / "model").eval()(picture).last_hidden_state
    assert torch.allclose(embedding, again, atol=1e-5)
    case.loads("the image encoder alone: its keys stand at the top of config.json", made_by(encoder), "model",
               "sam_image_encoder", "vision_encoder.", shape, embedding=first(embedding))


def forms_of_a_folder(root):
    new = hf.ViTForImageClassification
    made = Folder(root, "vit_sharded", new(vit(**labels(BIRDS), hidden_size=32, num_attention_heads=4, intermediate_size=32)),
                  max_shard_size="30KB").checked()
    assert (made.path / "model.safetensors.index.json").exists()
    made.classifier("several shards and their index", "vit", "vit.", names=BIRDS)

    model = new(vit(num_labels=3))
    made = Folder(root, "vit_fp16_variant", model)
    made.path.joinpath("model.safetensors").unlink()
    made.model.half().save_pretrained(made.path, variant="fp16")
    made.model.float()
    made.checked(variant="fp16", dtype=torch.float32).classifier(
        "model.fp16.safetensors alone; the numbers are those of the rounded weights", "vit", "vit.")

    made = Folder(root, "vit_pytorch_model_bin", new(vit(num_labels=3)))
    from safetensors.torch import load_file
    torch.save(load_file(made.path / "model.safetensors"), made.path / "pytorch_model.bin")
    made.path.joinpath("model.safetensors").unlink()
    made.classifier("pytorch_model.bin, as transformers wrote before safetensors", "vit", "vit.")

    made = Folder(root, "vit_hub_cache", new(vit(num_labels=3)))
    store = made.case.folder / "models--locant--tiny-vit"
    commit = hashlib.sha1(made.case.name.encode()).hexdigest()
    snapshot = store / "snapshots" / commit
    for folder in (store / "refs", store / "blobs", snapshot):
        folder.mkdir(parents=True)
    (store / "refs" / "main").write_text(commit)
    for file in sorted(made.path.iterdir()):
        blob = hashlib.sha256(file.read_bytes()).hexdigest()
        file.rename(store / "blobs" / blob)
        (snapshot / file.name).symlink_to(os.path.join("..", "..", "blobs", blob))
    made.path.rmdir()
    made.classifier("the hub's cache: links into blobs, refs/main names the snapshot", "vit", "vit.",
                    path=store.name)

    made = Folder(root, "vit_old_config", new(vit(num_labels=3))).checked()

    def before_2021(config):
        keep = ["architectures", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                "image_size", "patch_size"]
        return {key: config[key] for key in keep} | {"_name_or_path": "tiny", "labels": None, "path_norm": True}

    edit_json(made.path / "config.json", before_2021)
    made.classifier("no model_type: architectures decides; layer_norm_eps, num_channels and the rest are defaults; "
                    "two classes by config.json, three by the head: the head wins", "vit", "vit.")


def refused_activations(root):
    for act in ("quick_gelu", "gelu_new", "relu"):
        case = Case(root, f"vit_{act}")
        model = fill(hf.ViTForImageClassification(
            vit(hidden_act=act, num_labels=3, num_hidden_layers=1)), case.name)
        model.save_pretrained(case.folder / "model")
        case.refused(f"hidden_act {act}, which the family does not have", made_by(model), "model", [act], family="vit")


def make(root):
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    vit_folders(root)
    dinov2_folders(root)
    beit_folders(root)
    swin_folders(root)
    pvt_v2_folders(root)
    sam_folders(root)
    forms_of_a_folder(root)
    refused_activations(root)
