"""Folders of encoders of texts and frames that transformers' save_pretrained writes."""

import copy

import torch
import transformers as hf
from safetensors.torch import save_file

from .case import FORMULA, Case, fill, formula_input

SIZES = {"vocab_size": 40, "d_model": 12, "d_kv": 6, "d_ff": 20, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.1,
         "relative_attention_num_buckets": 16, "relative_attention_max_distance": 20}


def ids_of(case, shape, vocabulary):
    return torch.randint(0, vocabulary, shape, generator=case.generator())


def t5(root, name, about, model, family="t5_encoder"):
    case = Case(root, name)
    fill(model, name, 0.3).save_pretrained(case.folder / "model")
    ids = ids_of(case, (2, 30), model.config.vocab_size)
    mask = torch.ones_like(ids)
    mask[1, 23:] = 0
    with torch.no_grad():
        output = copy.deepcopy(model).double().get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    case.reads(about, f"transformers {hf.__version__} {type(model).__name__}", "model", family, "", output,
               ids=ids.tolist(), mask=mask.tolist())


CONFORMER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
             "conv_depthwise_kernel_size": 5, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
             "conv_dim": [8, 8], "conv_stride": [5, 2], "conv_kernel": [10, 3], "num_feat_extract_layers": 2,
             "rotary_embedding_base": 500, "vocab_size": 6}


def conformer(root, name, about, model):
    """The encoder within, on hidden states."""
    case = Case(root, name)
    fill(model, name, 0.3).save_pretrained(case.folder / "model")
    frames = formula_input((2, 12, model.config.hidden_size))
    mask = torch.ones(2, 12)
    mask[1, 9:] = 0
    whole = copy.deepcopy(model).double()
    encoder = getattr(whole, "wav2vec2_conformer", whole).encoder
    with torch.no_grad():
        output = encoder(frames.double(), attention_mask=mask.bool()).last_hidden_state
    prefix = "wav2vec2_conformer.encoder." if hasattr(model, "wav2vec2_conformer") else "encoder."
    case.reads(about, f"transformers {hf.__version__} {type(model).__name__}", "model", "wav2vec2_conformer", prefix,
               output, frames={"shape": list(frames.shape), "formula": FORMULA}, mask=mask.tolist())


DEBERTA = {"vocab_size": 40, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
           "intermediate_size": 20, "relative_attention": True, "max_position_embeddings": 32}


def deberta(root, name, about, model):
    case = Case(root, name)
    fill(model, name, 0.3).save_pretrained(case.folder / "model")
    ids = ids_of(case, (2, 22), model.config.vocab_size)
    mask = torch.ones_like(ids)
    mask[1, 17:] = 0
    whole = copy.deepcopy(model).double()
    with torch.no_grad():
        output = getattr(whole, "deberta", whole)(input_ids=ids, attention_mask=mask).last_hidden_state
    case.reads(about, f"transformers {hf.__version__} {type(model).__name__}", "model", "deberta_v2",
               "deberta." if hasattr(model, "deberta") else "", output, ids=ids.tolist(), mask=mask.tolist())


def torch_encoder(root, name, about, told, **layer):
    """The encoder that PyTorch has."""
    case = Case(root, name)
    model = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, **layer), 2,
                                        norm=torch.nn.LayerNorm(16) if "norm_first" in layer else None,
                                        enable_nested_tensor=False)
    fill(model, name, 0.3)
    save_file(model.state_dict(), case.folder / "encoder.safetensors")
    frames = formula_input((2, 9, 16))
    with torch.no_grad():
        output = copy.deepcopy(model).double()(frames.double())
    case.reads(about, f"torch {torch.__version__} TransformerEncoder", "encoder.safetensors", "transformer_encoder", "",
               output, {"config": {"heads": 4, "position": "none"} | told},
               frames={"shape": list(frames.shape), "formula": FORMULA})


def make(root):
    torch_encoder(root, "torch_encoder", "PyTorch's own; heads and positions are told", {})
    torch_encoder(root, "torch_encoder_pre", "norms before the branches, GELU, a norm at the end",
                  {"block_norm": "pre", "act": "gelu"}, norm_first=True, activation="gelu")
    deberta(root, "deberta_v3", "v3's form; distances beyond the last bucket's; the second sample is padded",
            hf.DebertaV2Model(hf.DebertaV2Config(
                **DEBERTA, position_buckets=8, max_relative_positions=16, norm_rel_ebd="layer_norm", share_att_key=True,
                pos_att_type="p2c|c2p", position_biased_input=False, layer_norm_eps=1e-4)))
    deberta(root, "deberta_v2_convolution", "v2's convolution, within a classifier whose head is left out",
            hf.DebertaV2ForSequenceClassification(hf.DebertaV2Config(
                **DEBERTA, position_buckets=8, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type=["c2p", "p2c"],
                position_biased_input=False, conv_kernel_size=3, conv_act="gelu", num_labels=3)))
    deberta(root, "deberta_v2_defaults", "no buckets, positions and types at the words, distances projected apart, c2p alone",
            hf.DebertaV2Model(hf.DebertaV2Config(
                **DEBERTA, max_relative_positions=10, pos_att_type="c2p", type_vocab_size=2, embedding_size=8)))
    conformer(root, "wav2vec2_conformer_relative", "positions of Transformer-XL; the second sample is padded",
              hf.Wav2Vec2ConformerModel(hf.Wav2Vec2ConformerConfig(**CONFORMER, hidden_act="swish")))
    conformer(root, "wav2vec2_conformer_rotary", "hidden states turn, by another base, which config.json alone tells",
              hf.Wav2Vec2ConformerForCTC(hf.Wav2Vec2ConformerConfig(
                  **CONFORMER, hidden_act="swish", position_embeddings_type="rotary")))
    conformer(root, "wav2vec2_conformer_none", "no positions, and the class's own GELU",
              hf.Wav2Vec2ConformerModel(hf.Wav2Vec2ConformerConfig(**CONFORMER, position_embeddings_type=None)))
    t5(root, "t5_encoder", "gated; the second sample is padded; distances beyond the last bucket's",
       hf.T5EncoderModel(hf.T5Config(**SIZES, feed_forward_proj="gated-gelu", layer_norm_epsilon=1e-3)))
    t5(root, "t5_whole", "a model with its decoder, whose tensors are passed over; relu",
       hf.T5ForConditionalGeneration(hf.T5Config(**SIZES)))
    t5(root, "mt5_gated_silu", "of mT5's type; the gate is SiLU, which config.json alone tells",
       hf.MT5EncoderModel(hf.MT5Config(**SIZES, feed_forward_proj="gated-silu")))
