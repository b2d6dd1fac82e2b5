// DETR's encoder and decoder: Carion et al. 2020, "End-to-End Object Detection with Transformers", figure 10,
// with iRPE in the encoder: Wu et al. 2021, "Rethinking and Improving Relative Position Encoding for Vision
// Transformer". Names: microsoft/Cream; those of facebookresearch/detr are the same without tables. In a
// whole detector they stand below "transformer.": before it a ResNet and a 1x1 convolution make `src` of a
// picture, behind it two heads read classes and boxes off the decoder.
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "models/family.h"
#include "models/irpe_config.h"
#include "models/parts.h"
#include "models/sublayer.h"
#include "ops/activation.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {
namespace detr_irpe_model {
namespace {

constexpr std::int64_t kSkip = 0;  // no token stands before the grid

struct DetrIrpeConfig {
  std::int64_t dim = 256, heads = 8, encoder_depth = 6, decoder_depth = 6, ffn_dim = 2048;
  IrpeConfig irpe = {};  // of the encoder; on nothing: DETR itself
  float norm_eps = 1e-5f;
  bool pre_norm = false;
  bool return_intermediate = true;  // the queries after every decoder layer, not after the last alone
  double dropout = 0.0;             // of probabilities, hidden channels and branches

  SublayerOptions sublayer() const {
    SublayerOptions out = sublayer_options(*this);
    out.pre_norm = pre_norm;
    return out;
  }
  IrpeOptions attention(bool with_irpe) const {
    IrpeOptions out = irpe.options(dim, heads, kSkip);
    if (!with_irpe) out.on.clear();
    out.dropout = static_cast<float>(dropout);
    return out;
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("heads", c.heads, range(1, 1024));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("encoder_depth", c.encoder_depth, range(1, 1024));
  a.field("decoder_depth", c.decoder_depth, range(1, 1024));
  a.field("ffn_dim", c.ffn_dim, at_least(1));
  irpe_fields(a, c.irpe, kSkip);
  a.field("norm_eps", c.norm_eps);
  a.field("pre_norm", c.pre_norm);
  a.field("return_intermediate", c.return_intermediate);
  a.field("dropout", c.dropout, rate());
  a.only("act", "relu");
}

/// What all layers share of the pictures: tokens are places of the feature map, row by row.
struct Places {
  Var positions = {};                // (B, N, C)
  AttentionVisibility visible = {};  // hides padding
  IrpeMaps maps = {};
};

using DetrEncoderLayer = EncoderLayer<IrpeDetrAttention>;

Var encode_layer(const Context& ctx, const DetrEncoderLayer& layer, const Var& x, const Places& places) {
  return layer(ctx, x, [&](const IrpeDetrAttention& self_attn, const Var& y, const Var& skip) {
    const Var placed = add(ctx, y, places.positions);
    return self_attn(ctx, placed, placed, y, &places.maps, places.visible, skip);
  });
}

class DecoderLayer {
 public:
  DecoderLayer(const Weights& w, const DetrIrpeConfig& c)
      : self_attn_(w / "self_attn", c.attention(false)),
        multihead_attn_(w / "multihead_attn", c.attention(false)),
        feed_(w, c.sublayer()),
        attend_(w / "norm1", c.sublayer()),
        look_(w / "norm2", c.sublayer()),
        forward_(w / "norm3", c.sublayer()) {}
  /// x (B, Q, C); queries (Q, C), its positions; placed: memory with its positions.
  Var operator()(const Context& ctx, Var x, const Var& queries, const Var& memory, const Var& placed,
                 const AttentionVisibility& visible) const {
    x = attend_(ctx, x, [&](const Var& y, const Var& skip) {
      const Var q = add(ctx, y, queries);
      return self_attn_(ctx, q, q, y, nullptr, {}, skip);
    });
    x = look_(ctx, x, [&](const Var& y, const Var& skip) {
      return multihead_attn_(ctx, add(ctx, y, queries), placed, memory, nullptr, visible, skip);
    });
    return forward_(ctx, x, [&](const Var& y, const Var& skip) { return feed_(ctx, y, skip); });
  }

 private:
  IrpeDetrAttention self_attn_, multihead_attn_;
  FeedForward feed_;
  Sublayer attend_, look_, forward_;
};

class DetrIrpe final : public ModelOf<DetrIrpeConfig> {
 public:
  DetrIrpe(const Family& family, DetrIrpeConfig config, const Weights& w)
      : ModelOf(family, std::move(config)) {
    const DetrIrpeConfig& c = this->c();
    for (std::int64_t i = 0; i < c.encoder_depth; ++i) {
      const Weights layer = w / "encoder" / "layers" / i;
      encoder_.emplace_back(layer, IrpeDetrAttention(layer / "self_attn", c.attention(true)), c.sublayer());
    }
    if (c.pre_norm) encoder_norm_ = LayerNorm(w / "encoder" / "norm", c.dim, c.norm_eps);
    for (std::int64_t i = 0; i < c.decoder_depth; ++i) decoder_.emplace_back(w / "decoder" / "layers" / i, c);
    decoder_norm_ = LayerNorm(w / "decoder" / "norm", c.dim, c.norm_eps);
  }
  static std::vector<std::string> call_options() { return {"height", "width", "num_queries", "valid_hw"}; }
  std::vector<Port> inputs() const override {
    std::vector<Port> out = with_options({{"src", "B C H W", "feature map of the pictures"},
                                          {"pos_embed", "B C H W", "positions of its places"},
                                          {"query_embed", "Q C", "learned queries"},
                                          {"mask", "B H W", "0: padding", Port::Kind::mask, true}},
                                         call_options());
    out[4].note = out[5].note = "sides of src, where they are to be checked";
    out[6].note = "rows of query_embed, likewise";
    out[7].note = "rows and columns of each picture within src, in place of mask";
    return out;
  }
  /// "output": D 1 without return_intermediate.
  std::vector<Port> outputs() const override {
    return {{"output", "D B Q C", "queries after each decoder layer, normed"},
            {"memory", "B C H W", "what the encoder made of src"}};
  }

 protected:
  Values compute(const Context& ctx, const Values& in) const override;

 private:
  /// Throws Error unless inputs and options fit together.
  void check_sizes(const Values& in) const;
  Places places(const Context& ctx, const Values& in) const;
  Var encode(const Context& ctx, Var x, const Places& places) const;
  Var decode(const Context& ctx, const Var& queries, const Var& memory, const Places& places) const;

  std::vector<DetrEncoderLayer> encoder_;
  std::vector<DecoderLayer> decoder_;
  LayerNorm encoder_norm_, decoder_norm_;
};

/// Shown as the official code has it: (N, B, C).
void show_layer(const Context& ctx, const char* of, std::size_t index, const Var& x) {
  if (ctx.probe == nullptr) return;
  ctx.show([&] { return fmt::format("{}.layers.{}", of, index); }, permute({}, x, {1, 0, 2}));
}

void DetrIrpe::check_sizes(const Values& in) const {
  const Shape &src = in.at("src").shape(), &pos = in.at("pos_embed").shape(),
              &queries = in.at("query_embed").shape();
  require(src[1] == c().dim && pos == src && queries[1] == c().dim && src.numel() > 0 && queries[0] > 0, op(),
          "src {}, pos_embed {} and query_embed {} do not fit; (B, {}, H, W) twice and (Q, {}) were expected",
          src.str(), pos.str(), queries.str(), c().dim, c().dim);
  for (const auto& [option, size] :
       {std::pair{"height", src[2]}, {"width", src[3]}, {"num_queries", queries[0]}})
    if (in.get(option).defined() && in.number(option) != size)
      fail(op(), "{} is {}, but src is {} and query_embed {}", option, in.number(option), src.str(),
           queries.str());
  const Var mask = in.get("mask"), valid = in.get("valid_hw");
  if (mask.defined())
    require(mask.shape() == Shape({src[0], src[2], src[3]}) && !valid.defined(), op(),
            "mask {}; ({}, {}, {}) was expected, and no valid_hw beside it", mask.shape().str(), src[0],
            src[2], src[3]);
  if (valid.defined())
    require(valid.shape() == Shape({src[0], 2}), op(), "valid_hw {}; ({}, 2) was expected",
            valid.shape().str(), src[0]);
}

Places DetrIrpe::places(const Context& ctx, const Values& in) const {
  const Shape& src = in.at("src").shape();
  Places out;
  out.positions = images_to_tokens(ctx, in.at("pos_embed"));
  const IrpeGrid grid{src[2], src[3], kSkip};
  if (!c().irpe.on.empty()) out.maps = irpe_maps(c().irpe.form(), grid);
  if (const Var valid = in.get("valid_hw"); valid.defined()) {
    std::vector<std::vector<std::int64_t>> sizes;
    const auto size = [&](std::int64_t at) {  // 0, which is refused, for what is no size
      const float x = valid.value()[at];
      return x >= 1 && x <= static_cast<float>(grid.tokens()) ? static_cast<std::int64_t>(x) : 0;
    };
    for (std::int64_t b = 0; b < src[0]; ++b) sizes.push_back({size(2 * b), size(2 * b + 1)});
    out.visible = irpe_keys_within(sizes, grid);
  }
  if (const Var mask = in.get("mask"); mask.defined()) {
    const std::int64_t N = src[2] * src[3];
    auto seen = std::make_shared<std::vector<std::uint8_t>>();
    for (const float x : mask.value().values()) seen->push_back(x != 0.0f ? 1 : 0);
    for (std::int64_t b = 0; b < src[0]; ++b)
      require(std::count(seen->begin() + b * N, seen->begin() + (b + 1) * N, 1) > 0, op(),
              "the mask hides all of picture {}", b);
    out.visible = {.dense = std::move(seen), .dense_shape = {src[0], 1, 1, 1, N}};
  }
  return out;
}

Var DetrIrpe::encode(const Context& ctx, Var x, const Places& places) const {
  for (std::size_t i = 0; i < encoder_.size(); ++i) {
    x = encode_layer(ctx, encoder_[i], x, places);
    show_layer(ctx, "encoder", i, x);
  }
  return c().pre_norm ? encoder_norm_(ctx, x) : x;
}

/// (D, B, Q, C)
Var DetrIrpe::decode(const Context& ctx, const Var& queries, const Var& memory, const Places& places) const {
  const std::int64_t B = memory.dim(0), Q = queries.dim(0), C = c().dim;
  const Var placed = add(ctx, memory, places.positions);
  std::vector<Var> states;
  Var x(Tensor::zeros({B, Q, C}));
  for (std::size_t i = 0; i < decoder_.size(); ++i) {
    x = decoder_[i](ctx, x, queries, memory, placed, places.visible);
    show_layer(ctx, "decoder", i, x);
    if (c().return_intermediate || i + 1 == decoder_.size())
      states.push_back(reshape(ctx, decoder_norm_(ctx, x), {1, B, Q, C}));
  }
  return states.size() == 1 ? states[0] : concat_axis(ctx, states, 0);
}

Values DetrIrpe::compute(const Context& ctx, const Values& in) const {
  check_sizes(in);
  const Var& src = in.at("src");
  const Places places = this->places(ctx, in);
  const Var tokens = encode(ctx, images_to_tokens(ctx, src), places);
  const Var memory = ctx.shown("memory", tokens_to_images(ctx, tokens, src.dim(2), src.dim(3)));
  return {{"output", decode(ctx, in.at("query_embed"), tokens, places)}, {"memory", memory}};
}

void from_shapes(const NamedShapes& s, DetrIrpeConfig& c) {
  c.ffn_dim = s.dim("encoder.layers.0.linear1.weight", 0);
  c.dim = s.dim("encoder.layers.0.linear1.weight", 1);
  s.at("decoder.layers.0.multihead_attn.in_proj_weight");
  c.encoder_depth = s.count("encoder.layers", ".linear1.weight");
  c.decoder_depth = s.count("decoder.layers", ".linear1.weight");
  const bool encoder_norm = s.has("encoder.norm.weight");
  c.irpe.from_shapes(s, "encoder.layers.0.self_attn", kSkip, c.dim, 32, c.heads);
  require(
      !c.irpe.on.empty() || !encoder_norm || s.told("pre_norm"), "detr_irpe",
      "no tables, and a norm behind the encoder, which torch.nn.Transformer has, too: pre_norm must be told");
  c.pre_norm = encoder_norm;
}

std::vector<Variant<DetrIrpeConfig>> variants() {
  std::vector<Variant<DetrIrpeConfig>> out;
  for (const auto& [buckets, ratio] : {std::pair{49, 1.9}, {81, 2.0}, {0, 1.9}}) {
    Variant<DetrIrpeConfig>& v = out.emplace_back();
    v.config.irpe.ratio = ratio;
    v.config.dropout = 0.1;
    if (buckets > 0) {
      v.name = fmt::format("detr_r50_irpe_product_{}_k", buckets);
      v.aliases = {fmt::format("rpe-{:.1f}-product-ctx-1-k", ratio)};
      v.note = "DETR-R50's encoder and decoder with iRPE on k, Wu et al. 2021; without backbone and heads";
      v.naming = "microsoft/Cream";
    } else {
      v.name = "detr_r50";
      v.config.irpe.on.clear();
      v.note = "DETR-R50's encoder and decoder, Carion et al. 2020; without backbone and heads";
      v.naming = "facebookresearch/detr";
    }
  }
  return out;
}

std::vector<Renames> renames() {
  std::vector<Renames> out = same_names({"microsoft/Cream", "facebookresearch/detr"});
  for (Renames& names : out) {
    names.prefix = "transformer.";
    names.unused = {"backbone.*", "input_proj.*", "query_embed.*", "class_embed.*", "bbox_embed.*"};
  }
  return out;
}

}  // namespace
}  // namespace detr_irpe_model

const Family kDetrIrpe = family<detr_irpe_model::DetrIrpe, detr_irpe_model::variants,
                                detr_irpe_model::renames, detr_irpe_model::from_shapes>("detr_irpe");

}  // namespace locant
