// wav2vec 2.0's Conformer encoder: Baevski et al. 2020, "wav2vec 2.0", with the blocks of Gulati et al. 2020,
// "Conformer", as Wang et al. 2020, "fairseq S2T", train it. From hidden states: what hears the audio stands
// before it. Names: transformers' Wav2Vec2ConformerEncoder; ours are those of conformer.cc.
#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/conformer.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"

namespace locant {
namespace wav2vec2_conformer_model {
namespace {

using Position = ConformerOptions::Position;
using Act = ConformerOptions::Act;

struct Wav2Vec2ConformerConfig {
  std::int64_t dim = 1024, heads = 16, depth = 24, ffn_dim = 4096, conv_kernel = 31;
  Position position = Position::transformer_xl;
  Act act = Act::silu;
  double temperature = 10000.0;  // of the rotation
  float norm_eps = 1e-5f;        // of the last norm; those of the blocks have PyTorch's
  double dropout = 0.0;

  ConformerOptions block() const {
    ConformerOptions out;
    out.width = dim;
    out.heads = heads;
    out.ffn_dim = ffn_dim;
    out.kernel = conv_kernel;
    out.position = position;
    out.act = act;
    out.rotary_base = temperature;
    out.joint_projection = out.pointwise_bias = false;
    out.dropout = static_cast<float>(dropout);
    return out;
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("heads", c.heads, range(1, 256));
  a.field("dim", c.dim, divisible_by(2 * c.heads, "heads, and pairs in them"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("ffn_dim", c.ffn_dim, at_least(1));
  a.field("conv_kernel", c.conv_kernel, range(1, 1023));
  a.choice("position", c.position, {"none", "transformer_xl", "rotary_hidden"});
  a.choice("act", c.act, {"silu", "gelu"});
  a.field("temperature", c.temperature, at_least(1));
  a.field("norm_eps", c.norm_eps);
  a.field("dropout", c.dropout, rate());
  a.only("conv_bias", false);
  a.only("half_step", true);
  a.only("bn_eps", 1e-5);
  a.only("final_norm", "layer_norm");
}

void check(const std::string& op, const Wav2Vec2ConformerConfig& c) {
  require(c.conv_kernel % 2 == 1, op, "conv_kernel {}; it must be odd", c.conv_kernel);
}

class Wav2Vec2Conformer final : public ModelOf<Wav2Vec2ConformerConfig> {
 public:
  Wav2Vec2Conformer(const Family& family, Wav2Vec2ConformerConfig config, const Weights& w)
      : ModelOf(family, std::move(config)), block_(c().block()) {
    for (std::int64_t i = 0; i < c().depth; ++i) layers_.emplace_back(w / "layers" / i, block_);
    norm_ = LayerNorm(w / "layer_norm", c().dim, c().norm_eps);
  }
  std::vector<Port> inputs() const override {
    return {{"input", "B N C", "hidden states"},
            {"attention_mask", "B N", "0: padding, which no token sees", Port::Kind::mask, true}};
  }
  std::vector<Port> outputs() const override { return {{"last_hidden_state", "B N C", "normed"}}; }

 protected:
  Values compute(const Context& ctx, const Values& in) const override {
    Var x = in.at("input");
    const std::int64_t B = x.dim(0), N = x.dim(1);
    require(x.dim(2) == c().dim && N >= 1, op(), "input of shape {}; it must be (B, N, {})", x.shape().str(),
            c().dim);
    ConformerCall call = conformer_call(block_, N);
    if (const Var mask = in.get("attention_mask"); mask.defined()) {
      hide_keys(op(), mask, B, N, call.key_lengths, call.visibility);
      x = multiply(ctx, x, reshape(ctx, mask, {B, N, 1}));  // what is hidden enters the convolutions as zeros
    }
    x = dropout(ctx, x, block_.dropout);
    for (std::size_t i = 0; i < layers_.size(); ++i)
      x = ctx.shown("layers", static_cast<std::int64_t>(i), layers_[i](ctx, x, call));
    return {{"last_hidden_state", norm_(ctx, x)}};
  }

 private:
  ConformerOptions block_;
  std::vector<ConformerBlock> layers_;
  LayerNorm norm_;
};

void from_shapes(const NamedShapes& s, Wav2Vec2ConformerConfig& c) {
  const std::string block = "layers.0.sequential.", attention = block + "1.module.attention.";
  c.ffn_dim = s.dim(block + "0.module.sequential.1.linear.weight", 0);
  c.dim = s.dim(block + "0.module.sequential.1.linear.weight", 1);
  c.depth = s.count("layers", ".sequential.0.module.sequential.1.linear.weight");
  c.conv_kernel = s.dim(block + "2.module.sequential.4.conv.weight", 2);
  if (s.has(attention + "u_bias")) {
    c.position = Position::transformer_xl;
    c.heads = s.dim(attention + "u_bias", 0);
  } else {  // no tensor tells whether the hidden states turn
    std::string position = c.position == Position::none ? "none" : "rotary_hidden";
    s.assume("position", position, std::string("rotary_hidden"));
    c.position = position == "none" ? Position::none : Position::rotary_hidden;
    assume_heads("wav2vec2_conformer", s, c.dim, c.heads);
  }
  std::string act = c.act == Act::silu ? "silu" : "gelu";
  s.assume("act", act, std::string("silu"));
  c.act = act == "silu" ? Act::silu : Act::gelu;
  s.assume("norm_eps", c.norm_eps);
}

std::vector<Variant<Wav2Vec2ConformerConfig>> variants() {
  std::vector<Variant<Wav2Vec2ConformerConfig>> out;
  const auto add = [&](const char* name, Position position, const char* note) {
    Variant<Wav2Vec2ConformerConfig>& v = out.emplace_back();
    v.name = name;
    v.config.position = position;
    v.config.dropout = 0.1;
    v.note = note;
  };
  add("wav2vec2_conformer_rel_pos_large", Position::transformer_xl, "encoder, positions of Transformer-XL");
  add("wav2vec2_conformer_rope_large", Position::rotary_hidden, "encoder, hidden states turned by place");
  return out;
}

std::vector<Renames> renames() {
  Renames ours, hf;
  ours.naming = "locant";
  hf.naming = "transformers";
  hf.prefix = "wav2vec2_conformer.encoder.";
  hf.rules = {{"layers.{i}.sequential.0.module.sequential.0", "layers.{i}.ffn1_layer_norm"},
              {"layers.{i}.sequential.0.module.sequential.1.linear", "layers.{i}.ffn1.intermediate_dense"},
              {"layers.{i}.sequential.0.module.sequential.4.linear", "layers.{i}.ffn1.output_dense"},
              {"layers.{i}.sequential.3.module.sequential.0", "layers.{i}.ffn2_layer_norm"},
              {"layers.{i}.sequential.3.module.sequential.1.linear", "layers.{i}.ffn2.intermediate_dense"},
              {"layers.{i}.sequential.3.module.sequential.4.linear", "layers.{i}.ffn2.output_dense"},
              {"layers.{i}.sequential.1.module.layer_norm", "layers.{i}.self_attn_layer_norm"},
              {"layers.{i}.sequential.1.module.attention.query_proj.linear", "layers.{i}.self_attn.linear_q"},
              {"layers.{i}.sequential.1.module.attention.key_proj.linear", "layers.{i}.self_attn.linear_k"},
              {"layers.{i}.sequential.1.module.attention.value_proj.linear", "layers.{i}.self_attn.linear_v"},
              {"layers.{i}.sequential.1.module.attention.pos_proj.linear", "layers.{i}.self_attn.linear_pos"},
              {"layers.{i}.sequential.1.module.attention.out_proj.linear", "layers.{i}.self_attn.linear_out"},
              {"layers.{i}.sequential.1.module.attention.u_bias", "layers.{i}.self_attn.pos_bias_u"},
              {"layers.{i}.sequential.1.module.attention.v_bias", "layers.{i}.self_attn.pos_bias_v"},
              {"layers.{i}.sequential.2.module.sequential.0", "layers.{i}.conv_module.layer_norm"},
              {"layers.{i}.sequential.2.module.sequential.2.conv", "layers.{i}.conv_module.pointwise_conv1"},
              {"layers.{i}.sequential.2.module.sequential.4.conv", "layers.{i}.conv_module.depthwise_conv"},
              {"layers.{i}.sequential.2.module.sequential.5", "layers.{i}.conv_module.batch_norm"},
              {"layers.{i}.sequential.2.module.sequential.7.conv", "layers.{i}.conv_module.pointwise_conv2"},
              {"layers.{i}.sequential.4", "layers.{i}.final_layer_norm"}};
  hf.derived = {"embed_positions.inv_freq"};
  hf.unused = {"pos_conv_embed.*"};  // made by the class and used nowhere
  return {ours, hf};
}

/// What hears the audio, as small as its class builds it: the model here begins behind it.
std::string front_keys(const std::string&, const std::string& config) {
  const auto c = read_config<Wav2Vec2ConformerConfig>("wav2vec2_conformer", config);
  ConfigWriter out;
  out.field("num_conv_pos_embedding_groups", c.dim);
  for (const char* key : {"hidden_dropout", "activation_dropout", "conformer_conv_dropout"})
    out.field(key, c.dropout);
  return out.str();
}

std::vector<HubKeys> hub() {
  return {
      {.model_type = "wav2vec2-conformer",
       .keys = {{"hidden_size", "dim"},
                {"num_attention_heads", "heads"},
                {"num_hidden_layers", "depth"},
                {"intermediate_size", "ffn_dim"},
                {"conv_depthwise_kernel_size", "conv_kernel"},
                {"position_embeddings_type", "position"},
                {"rotary_embedding_base", "temperature"},
                {"hidden_act", "act"},
                {"layer_norm_eps", "norm_eps"},
                {"attention_dropout", "dropout"}},
       .defaults =
           R"({"hidden_size":768,"num_attention_heads":12,"num_hidden_layers":12,"intermediate_size":3072,
                           "position_embeddings_type":"relative","hidden_act":"gelu"})",
       .values = {{"position_embeddings_type", "null", R"("none")"},
                  {"position_embeddings_type", R"("relative")", R"("transformer_xl")"},
                  {"position_embeddings_type", R"("rotary")", R"("rotary_hidden")"},
                  {"hidden_act", R"("swish")", R"("silu")"}},
       .inert = {"hidden_dropout",
                 "activation_dropout",
                 "feat_*",
                 "final_dropout",
                 "layerdrop",
                 "conv_dim",
                 "conv_stride",
                 "conv_kernel",
                 "conv_bias",
                 "num_conv_pos_*",
                 "num_feat_extract_layers",
                 "apply_spec_augment",
                 "mask_*",
                 "num_codevector*",
                 "contrastive_logits_temperature",
                 "num_negatives",
                 "codevector_dim",
                 "proj_codevector_dim",
                 "diversity_loss_weight",
                 "ctc_*",
                 "use_weighted_layer_sum",
                 "classifier_proj_size",
                 "tdnn_*",
                 "xvector_output_dim",
                 "*_token_id",
                 "adapter_*",
                 "num_adapter_layers",
                 "output_hidden_size",
                 "max_source_positions",
                 "conformer_conv_dropout"},
       .written = {.name = "Wav2Vec2Conformer",
                   .constants = R"({"conv_dim":[1],"conv_stride":[1],"conv_kernel":[1],"conv_bias":false,)"
                                R"("feat_extract_norm":"layer","feat_extract_activation":"gelu",)"
                                R"("num_conv_pos_embeddings":1,"mask_time_prob":0.0,)"
                                R"("mask_feature_prob":0.0,"add_adapter":false,"layerdrop":0.0,)"
                                R"("initializer_range":0.02})",
                   .whole = {"rotary_embedding_base"},
                   .more = front_keys}}};
}

}  // namespace
}  // namespace wav2vec2_conformer_model

const Family kWav2Vec2Conformer =
    family<wav2vec2_conformer_model::Wav2Vec2Conformer, wav2vec2_conformer_model::variants,
           wav2vec2_conformer_model::renames, wav2vec2_conformer_model::from_shapes,
           wav2vec2_conformer_model::hub>("wav2vec2_conformer");

}  // namespace locant
