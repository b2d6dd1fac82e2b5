"""Files and folders whose numbers would be wrong, or that hold no weights for us."""

import json
import shutil

import timm
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer

from .case import Case, edit_json, fill, formula_input, in_float64, numbers

TIMM = f"timm {timm.__version__}"
HF = f"transformers {hf.__version__}"
BY_HAND = "by hand"
SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 1, "mlp_ratio": 1.25, "num_classes": 3}


def vit(name, **more):
    return fill(VisionTransformer(**(SIZES | more)), name)


def state_of(model):
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


def file(root, name, about, made_by, state, error_contains, family="vit"):
    case = Case(root, name)
    save_file(state, case.folder / "model.safetensors")
    case.refused(about, made_by, "model.safetensors", error_contains, family=family)


def other_models_of_the_same_names(root):
    made_by = f"{TIMM} VisionTransformer"
    name = "refused_norm_pre"
    file(root, name, "a norm before the blocks", made_by, state_of(vit(name, pre_norm=True)), ["norm_pre"])
    name = "refused_attn_pool"
    file(root, name, "pooling by attention", made_by, state_of(vit(name, global_pool="map")), ["attn_pool"])
    name = "refused_q_norm"
    state = state_of(vit(name, qk_norm=True, depth=2))
    file(root, name, "queries and keys are normed", made_by, state, ["q_norm"])

    case = Case(root, "ignored_q_norm")
    model = VisionTransformer(**(SIZES | {"depth": 2})).eval()
    model.load_state_dict({key: tensor for key, tensor in state.items() if "_norm." not in key})
    shape = [1, 3, 16, 16]
    logits = in_float64(model, formula_input(shape))
    case.loads("the file of refused_q_norm, loaded all the same: the numbers are those without the norms", made_by,
               "../refused_q_norm/model.safetensors", "vit", "", shape, num_classes=3, answer="one_class",
               command={"ignore": ["*.q_norm.*", "*.k_norm.*"]}, logits=numbers(logits)["values"])

    name = "refused_lora"
    state = state_of(vit(name))
    state |= {"blocks.0.attn.qkv.lora_A": torch.full((2, 16), 0.1), "blocks.0.attn.qkv.lora_B": torch.full((48, 2), 0.1)}
    file(root, name, "factors of LoRA that are not in the weights yet, as loralib names them", f"{made_by}; {BY_HAND}",
         state, ["lora_A"])
    name = "refused_lora_peft"
    state = state_of(vit(name))
    for key in ("weight", "bias"):
        state[f"blocks.0.attn.qkv.base_layer.{key}"] = state.pop(f"blocks.0.attn.qkv.{key}")
    state |= {"blocks.0.attn.qkv.lora_A.default.weight": torch.full((2, 16), 0.1),
              "blocks.0.attn.qkv.lora_B.default.weight": torch.full((48, 2), 0.1)}
    file(root, name, "the same as peft names them: the weight is called base_layer", f"{made_by}; {BY_HAND}", state,
         ["lora_A"])
    name = "refused_swin_v2_window"
    model = fill(SwinTransformerV2(img_size=16, patch_size=2, embed_dim=8, depths=(1, 1), num_heads=(2, 4), window_size=4,
                                   mlp_ratio=1, num_classes=3), name)
    file(root, name, "bare tensors of Swin V2: windows of 2 and 4 have the same names and shapes",
         f"{TIMM} SwinTransformerV2", {key: tensor for key, tensor in state_of(model).items()}, ["window"], "swin_v2")


def unusable_tensors(root):
    name = "refused_integers"
    state = state_of(vit(name))
    state["norm.weight"] = torch.ones(16, dtype=torch.int64)
    file(root, name, "norm.weight holds integers", BY_HAND, state, ["norm.weight"])
    name = "refused_missing_tensor"
    state = state_of(vit(name))
    del state["blocks.0.mlp.fc2.bias"]
    file(root, name, "one bias is not in the file", BY_HAND, state, ["blocks.0.mlp.fc2.bias"])
    name = "refused_wrong_shape"
    state = state_of(vit(name))
    state["blocks.0.norm2.weight"] = torch.ones(12)
    file(root, name, "one norm is narrower than the others", BY_HAND, state, ["blocks.0.norm2.weight"])
    name = "refused_not_finite"
    state = state_of(vit(name))
    state["blocks.0.attn.proj.weight"][3, 2] = float("nan")
    file(root, name, "one weight is not a number", BY_HAND, state, ["blocks.0.attn.proj.weight"])
    case = Case(root, "refused_optimizer_only")
    model = vit(case.name)
    optimizer = torch.optim.AdamW([model.norm.weight, model.norm.bias])
    model(formula_input([1, 3, 16, 16])).sum().backward()
    optimizer.step()
    torch.save({"optimizer": optimizer.state_dict(), "epoch": 2}, case.folder / "optimizer.pth")
    case.refused("no model in the file", "torch save", "optimizer.pth", [])


def folder(root, name, **more):
    """A case with a good folder of two blocks, to be spoiled."""
    case = Case(root, name)
    config = hf.ViTConfig(**({"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2,
                              "image_size": 16, "patch_size": 4, "num_labels": 3} | more))
    path = case.folder / "model"
    fill(hf.ViTForImageClassification(config), name).save_pretrained(path)
    return case, path


def spoiled_folders(root):
    made_by = f"{HF} ViTForImageClassification; config.json changed by hand"
    case, path = folder(root, "refused_block_more")
    edit_json(path / "config.json", lambda config: config | {"num_hidden_layers": 1})
    case.refused("config.json says one block, the file has two", made_by, "model", ["layer.1"], family="vit")
    case, path = folder(root, "refused_block_fewer", num_hidden_layers=1)
    edit_json(path / "config.json", lambda config: config | {"num_hidden_layers": 2})
    case.refused("config.json says two blocks, the file has one", made_by, "model", ["layer.1"], family="vit")
    case, path = folder(root, "refused_quantized", num_hidden_layers=1)
    edit_json(path / "config.json", lambda config: config | {"quantization_config": {
        "load_in_8bit": True, "quant_method": "bitsandbytes"}})
    case.refused("quantization_config", made_by, "model", ["bitsandbytes"])

    case, path = folder(root, "refused_adapter_only", num_hidden_layers=1)
    shutil.rmtree(path)
    path.mkdir()
    key = "base_model.model.vit.encoder.layer.0.attention.attention.query"
    save_file({f"{key}.lora_A.weight": torch.full((2, 16), 0.1), f"{key}.lora_B.weight": torch.zeros(16, 2)},
              path / "adapter_model.safetensors", metadata={"format": "pt"})
    (path / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "base_model_name_or_path": "google/vit-base-patch16-224", "r": 2, "lora_alpha": 4,
         "target_modules": ["query"], "modules_to_save": ["classifier"]}, indent=2) + "\n")
    case.refused("an adapter whose base model is elsewhere", "by hand, as peft writes it", "model", ["adapter"])

    for model_type, error, more in (("dinov3_vit", "dinov3_vit", {"rope_theta": 100.0}),
                                    ("detr", "detr", {"backbone_config": {"model_type": "resnet"}})):
        case, path = folder(root, f"refused_{model_type}", num_hidden_layers=1)
        edit_json(path / "config.json", lambda config: config | {"model_type": model_type, "architectures": [
            {"detr": "DetrForObjectDetection", "dinov3_vit": "DINOv3ViTModel"}[model_type]]} | more)
        case.refused(f"model_type {model_type}, whatever the tensors look like", made_by, "model", [error])


def spoiled_shards(root):
    def sharded(name):
        case, path = folder(root, name)
        state = load_file(path / "model.safetensors")
        (path / "model.safetensors").unlink()
        names = sorted(state)
        parts = [names[:len(names) // 2], names[len(names) // 2:]]
        shards = [f"model-{i:05}-of-00002.safetensors" for i in (1, 2)]
        for shard, part in zip(shards, parts):
            save_file({key: state[key] for key in part}, path / shard, metadata={"format": "pt"})
        index = {"metadata": {"total_size": sum(4 * tensor.numel() for tensor in state.values())},
                 "weight_map": {key: shard for shard, part in zip(shards, parts) for key in part}}
        (path / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
        return case, path, shards

    made_by = f"{HF} ViTForImageClassification; shards by hand"
    case, path, shards = sharded("refused_shard_missing")
    (path / shards[1]).unlink()
    case.refused("a shard is not there", made_by, "model", [shards[1]])
    case, path, shards = sharded("refused_shard_path")
    (path / shards[1]).rename(case.folder / "outside.safetensors")
    edit_json(path / "model.safetensors.index.json", lambda index: index | {"weight_map": {
        key: "../outside.safetensors" if shard == shards[1] else shard for key, shard in index["weight_map"].items()}})
    case.refused("a shard's name leads out of the folder", made_by, "model", ["../outside.safetensors"])
    case, path, shards = sharded("refused_shard_without_tensor")
    state = load_file(path / shards[1])
    del state["vit.layernorm.weight"]
    save_file(state, path / shards[1], metadata={"format": "pt"})
    case.refused("the index places a tensor in a shard that lacks it", made_by, "model", ["vit.layernorm.weight", shards[1]])


def cache_that_leaves_a_choice(root):
    case = Case(root, "refused_hub_cache_snapshots")
    store = case.folder / "models--locant--tiny-vit"
    for letter in "ab":
        path = store / "snapshots" / (40 * letter)
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps({"model_type": "vit"}) + "\n")
    case.refused("the hub's cache with two snapshots and no refs/main", BY_HAND, store.name, ["snapshot"])


def other_formats(root):
    html = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Access is restricted.</body></html>\n"
    lfs = (b"version https://git-lfs.github.com/spec/v1\n"
           b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 346293852\n")
    for name, file_name, content, words in (
            ("gguf", "model.gguf", b"GGUF\x03\0\0\0" + bytes(16), ["gguf"]),
            ("onnx", "model.onnx", b"\x08\x08\x12\x07pytorch\x1a\x062.15.0:\x02\x12\0", ["onnx"]),
            ("h5", "tf_model.h5", b"\x89HDF\r\n\x1a\n" + bytes(24), ["h5"]),
            ("msgpack", "flax_model.msgpack", b"\x81\xa3vit\x80", ["msgpack"]),
            ("html", "model.safetensors", html, ["html"]),
            ("lfs", "model.safetensors", lfs, ["lfs"])):
        case = Case(root, f"refused_{name}")
        path = case.folder / "model"
        path.mkdir()
        (path / file_name).write_bytes(content)
        config = {"model_type": "vit", "architectures": ["ViTForImageClassification"]}
        (path / "config.json").write_text(json.dumps(config) + "\n")
        case.refused(f"a folder with {file_name}: {'a page' if name == 'html' else name}", BY_HAND, "model", words)
        alone = Case(root, f"refused_{name}_alone")
        alone.refused("the same file given alone", BY_HAND, f"../refused_{name}/model/{file_name}", words)


def make(root):
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    other_models_of_the_same_names(root)
    unusable_tensors(root)
    spoiled_folders(root)
    spoiled_shards(root)
    cache_that_leaves_a_choice(root)
    other_formats(root)
