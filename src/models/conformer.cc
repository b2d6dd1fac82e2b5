// Conformer: Gulati et al. 2020, "Conformer: Convolution-augmented Transformer for Speech Recognition",
// figure 1: its encoder, from frames of features (no audio front end). Names: sooftware/conformer, with
// Transformer-XL's positions and the convolutions that take every fourth frame; torchaudio's Conformer is the
// same blocks without either.
#include "nn/conformer.h"

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "ops/activation.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "ops/softmax.h"

namespace locant {
namespace conformer_model {
namespace {

using Position = ConformerOptions::Position;

struct ConformerConfig {
  std::int64_t input_dim = 0;  // of a frame before the subsampling; 0: none, frames have `dim` features
  std::int64_t dim = 512, heads = 8, depth = 17, ffn_dim = 2048, conv_kernel = 31, num_classes = 0;
  bool conv_bias = false;  // of the depthwise convolution; those by points have one
  Position position = Position::transformer_xl;
  bool half_step = true, convolution_first = false;
  float norm_eps = 1e-5f, bn_eps = 1e-5f;
  double dropout = 0.0;

  ConformerOptions block() const {
    ConformerOptions out;
    out.width = dim;
    out.heads = heads;
    out.ffn_dim = ffn_dim;
    out.kernel = conv_kernel;
    out.position = position;
    out.depthwise_bias = conv_bias;
    out.half_step = half_step;
    out.convolution_first = convolution_first;
    out.norm_eps = norm_eps;
    out.bn_eps = bn_eps;
    out.dropout = static_cast<float>(dropout);
    return out;
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("input_dim", c.input_dim);
  a.field("heads", c.heads, range(1, 256));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("ffn_dim", c.ffn_dim, at_least(1));
  a.field("conv_kernel", c.conv_kernel, range(1, 1023));
  a.field("num_classes", c.num_classes);
  a.field("conv_bias", c.conv_bias);
  a.choice("position", c.position, {"none", "transformer_xl"});
  a.field("half_step", c.half_step);
  a.field("convolution_first", c.convolution_first);
  a.field("norm_eps", c.norm_eps);
  a.field("bn_eps", c.bn_eps);
  a.field("dropout", c.dropout, rate());
  a.only("act", "silu");
}

/// Outputs of a 3-wide convolution of stride 2, twice.
std::int64_t subsampled(std::int64_t n) { return n < 7 ? 0 : ((n - 1) / 2 - 1) / 2; }

void check(const std::string& op, const ConformerConfig& c) {
  require(c.input_dim == 0 || subsampled(c.input_dim) > 0, op,
          "input_dim {}; two convolutions of stride 2 need frames of 7 features at least (0: no subsampling)",
          c.input_dim);
  require(c.conv_kernel % 2 == 1, op, "conv_kernel {}; it must be odd", c.conv_kernel);
  require(c.position != Position::transformer_xl || c.dim % 2 == 0, op,
          "dim {}; sinusoids come in pairs, so it must be even", c.dim);
}

/// Every fourth frame: `conv_subsample.sequential.0` and `.2` over (time, features), each with ReLU, then
/// `input_projection.0.linear` of channels and features together.
class Subsampling {
 public:
  Subsampling() = default;
  Subsampling(const Weights& w, const ConformerConfig& c) : input_dim_(c.input_dim) {
    const Weights s = w / "conv_subsample" / "sequential";
    first_ = Conv2d(s / 0, 1, c.dim, Conv2d::square(3, 2));
    second_ = Conv2d(s / 2, c.dim, c.dim, Conv2d::square(3, 2));
    const std::int64_t in = c.dim * subsampled(input_dim_);
    projection_ = Linear(w / "input_projection" / 0 / "linear", in, c.dim,
                         {.weight_init = Init::xavier_uniform(in, c.dim)});
  }
  /// (B, N, input_dim) -> (B, N', dim).
  Var operator()(const Context& ctx, const char* op, const Var& x) const {
    const std::int64_t B = x.dim(0), N = x.dim(1);
    require(x.dim(2) == input_dim_ && N >= 7, op,
            "input of shape {}; it must be (B, N, {}) with 7 frames at least", x.shape().str(), input_dim_);
    Var y = relu(ctx, first_(ctx, reshape(ctx, x, {B, 1, N, input_dim_})));
    y = permute(ctx, relu(ctx, second_(ctx, y)), {0, 2, 1, 3});
    return projection_(ctx, reshape(ctx, y, {B, y.dim(1), y.dim(2) * y.dim(3)}));
  }

 private:
  std::int64_t input_dim_ = 0;
  Conv2d first_, second_;
  Linear projection_;
};

class Conformer final : public ModelOf<ConformerConfig> {
 public:
  Conformer(const Family& family, ConformerConfig config, const Weights& w)
      : ModelOf(family, std::move(config)), block_(c().block()) {
    if (c().input_dim > 0) subsampling_ = Subsampling(w, c());
    for (std::int64_t i = 0; i < c().depth; ++i) layers_.emplace_back(w / "layers" / i, block_);
    if (c().num_classes > 0)
      head_ = Linear(w / "fc" / "linear", c().dim, c().num_classes,
                     {.bias = false, .weight_init = Init::xavier_uniform(c().dim, c().num_classes)});
  }
  std::vector<Port> inputs() const override {
    std::vector<Port> out = {{"input", "B N C", "frames"}};
    if (c().input_dim == 0)
      out.push_back({"lengths", "B", "frames of each sample that others see", Port::Kind::lengths, true});
    return out;
  }
  std::vector<Port> outputs() const override {
    return {{"output", "B N C", c().num_classes > 0 ? "log-probabilities of each frame" : ""}};
  }

 protected:
  Values compute(const Context& ctx, const Values& in) const override {
    Var x = in.at("input");
    if (c().input_dim > 0)
      x = dropout(ctx, subsampling_(ctx, op(), x), block_.dropout);
    else
      require(x.dim(2) == c().dim && x.dim(1) >= 1, op(), "input of shape {}; it must be (B, N, {})",
              x.shape().str(), c().dim);
    ConformerCall call = conformer_call(block_, x.dim(1));
    if (const Var lengths = in.get("lengths"); lengths.defined())
      for (const float n : lengths.value().values()) call.key_lengths.push_back(static_cast<std::int64_t>(n));
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      x = layers_[i](ctx, x, call);
      if (ctx.probe != nullptr)  // torchaudio's blocks have time first
        ctx.shown("layers", static_cast<std::int64_t>(i), permute(ctx, x, {1, 0, 2}));
    }
    return {{"output", head_.defined() ? log_softmax(ctx, head_(ctx, x)) : x}};
  }

 private:
  ConformerOptions block_;
  Subsampling subsampling_;
  std::vector<ConformerBlock> layers_;
  Linear head_;
};

void from_shapes(const NamedShapes& s, ConformerConfig& c) {
  const std::string block = "layers.0.sequential.";
  c.ffn_dim = s.dim(block + "0.module.sequential.1.linear.weight", 0);
  c.dim = s.dim(block + "0.module.sequential.1.linear.weight", 1);
  c.depth = s.count("layers", ".sequential.0.module.sequential.1.linear.weight");
  c.conv_kernel = s.dim(block + "2.module.sequential.4.conv.weight", 2);
  c.conv_bias = s.has(block + "2.module.sequential.4.conv.bias");
  const std::string u = block + "1.module.attention.u_bias";
  c.position = s.has(u) ? Position::transformer_xl : Position::none;
  if (s.has(u))
    c.heads = s.dim(u, 0);
  else
    assume_heads("conformer", s, c.dim, c.heads);
  c.num_classes = s.has("fc.linear.weight") ? s.dim("fc.linear.weight", 0) : 0;
  if (s.has("conv_subsample.sequential.0.weight")) {
    // As many features give as many channels: the least of four, or 80 where they give as many.
    const std::int64_t columns = s.dim("input_projection.0.linear.weight", 1) / c.dim;
    s.assume("input_dim", c.input_dim, subsampled(80) == columns ? 80 : 4 * columns + 3,
             subsampled(c.input_dim) == columns);
  } else {
    c.input_dim = 0;
  }
  s.assume("half_step", c.half_step);
  s.assume("convolution_first", c.convolution_first);
  s.assume("norm_eps", c.norm_eps);
}

std::vector<Variant<ConformerConfig>> variants() {
  std::vector<Variant<ConformerConfig>> out;
  const auto add = [&](const char* name, std::int64_t dim, std::int64_t heads, std::int64_t depth) {
    Variant<ConformerConfig>& v = out.emplace_back();
    v.name = name;
    v.config.input_dim = 80;
    v.config.dim = dim;
    v.config.heads = heads;
    v.config.depth = depth;
    v.config.ffn_dim = 4 * dim;
    v.config.dropout = 0.1;
    v.note = "encoder of the paper's table 1, from 80 mel features";
  };
  add("conformer_small", 144, 4, 16);
  add("conformer_medium", 256, 4, 16);
  add("conformer_large", 512, 8, 17);
  return out;
}

std::vector<Renames> renames() {
  Renames sooftware;
  sooftware.naming = "sooftware/conformer";
  sooftware.prefix = "encoder.";

  Renames torchaudio;
  torchaudio.naming = "torchaudio";
  torchaudio.rules = {
      {"layers.{i}.sequential.0.module.sequential.0", "conformer_layers.{i}.ffn1.sequential.0"},
      {"layers.{i}.sequential.0.module.sequential.1.linear", "conformer_layers.{i}.ffn1.sequential.1"},
      {"layers.{i}.sequential.0.module.sequential.4.linear", "conformer_layers.{i}.ffn1.sequential.4"},
      {"layers.{i}.sequential.3.module.sequential.0", "conformer_layers.{i}.ffn2.sequential.0"},
      {"layers.{i}.sequential.3.module.sequential.1.linear", "conformer_layers.{i}.ffn2.sequential.1"},
      {"layers.{i}.sequential.3.module.sequential.4.linear", "conformer_layers.{i}.ffn2.sequential.4"},
      {"layers.{i}.sequential.1.module.layer_norm", "conformer_layers.{i}.self_attn_layer_norm"},
      {"layers.{i}.sequential.1.module.attention.in_proj.weight",
       "conformer_layers.{i}.self_attn.in_proj_weight"},
      {"layers.{i}.sequential.1.module.attention.in_proj.bias",
       "conformer_layers.{i}.self_attn.in_proj_bias"},
      {"layers.{i}.sequential.1.module.attention.out_proj.linear", "conformer_layers.{i}.self_attn.out_proj"},
      {"layers.{i}.sequential.2.module.sequential.0", "conformer_layers.{i}.conv_module.layer_norm"},
      {"layers.{i}.sequential.2.module.sequential.2.conv", "conformer_layers.{i}.conv_module.sequential.0"},
      {"layers.{i}.sequential.2.module.sequential.4.conv", "conformer_layers.{i}.conv_module.sequential.2"},
      {"layers.{i}.sequential.2.module.sequential.5", "conformer_layers.{i}.conv_module.sequential.3"},
      {"layers.{i}.sequential.2.module.sequential.7.conv", "conformer_layers.{i}.conv_module.sequential.5"},
      {"layers.{i}.sequential.4", "conformer_layers.{i}.final_layer_norm"},
      {"layers.{i}", "conformer_layers.{i}", true}};
  return {sooftware, torchaudio};
}

}  // namespace
}  // namespace conformer_model

const Family kConformerModel = family<conformer_model::Conformer, conformer_model::variants,
                                      conformer_model::renames, conformer_model::from_shapes>("conformer");

}  // namespace locant
