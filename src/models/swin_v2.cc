// Swin Transformer V2: Liu et al. 2022, "Swin Transformer V2: Scaling Up Capacity and Resolution", figure 1:
// norms after the branches, cosine attention (equation 2), a continuous position bias (equations 3 and 4).
// Tensor names, stage paths, layout and defaults are those of microsoft/Swin-Transformer; timm, torchvision
// and Hugging Face compute otherwise only where windows do not divide the grid.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "models/swin_pyramid.h"
#include "nn/layers.h"
#include "nn/windows.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/swin_v2_cpb.h"

namespace locant {
namespace swin_v2_model {
namespace {

/// The attention alone, in one window.
struct CosineConfig {
  // Keys have no bias. q_v: q and v have one each; full_k_zeroed: one of all three, of which the keys' third
  // counts as zero (torchvision).
  enum class Bias { none, q_v, full_k_zeroed };
  std::int64_t dim = 96, heads = 3;
  Pair window = {8, 8};
  Pair pretrained_window = {0, 0};  // that coordinates are measured by; 0: the window itself
  Bias qkv_bias = Bias::q_v;
  std::int64_t cpb_hidden = SwinV2Cpb::kHidden;
  float bias_scale = 16.0f;
  float logit_max = 4.605170185988092f;  // ln 100
  float l2_eps = 1e-12f;
};

template <class Archive, class Config>
void score_fields(Archive& a, Config& c) {
  a.choice("qkv_bias", c.qkv_bias, {"none", "q_v", "full_k_zeroed"});
  a.field("cpb_hidden", c.cpb_hidden, at_least(1));
  a.field("bias_scale", c.bias_scale);
  a.field("logit_max", c.logit_max);
  a.field("l2_eps", c.l2_eps, below(1));
}

template <class Archive, ConfigIs<CosineConfig> Config>
void fields(Archive& a, Config& c) {
  a.field("heads", c.heads, range(1, 1024));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("window", c.window, range(1, 256));
  score_fields(a, c);
  a.field("pretrained_window", c.pretrained_window);
}

struct SwinV2Config : SwinPyramidConfig {
  CosineConfig attention;  // of every block, but for width, heads and windows, which are the stage's
  std::vector<std::int64_t> pretrained_window_sizes;  // one a stage; empty: none
  SwinV2Config() {
    input.img_size = {256, 256};
    window = {8, 8};
  }
  CosineConfig attention_in(std::size_t stage, Window fitted) const {
    CosineConfig out = attention;
    out.dim = width(stage);
    out.heads = heads[stage];
    out.window = {fitted.rows, fitted.columns};
    const std::int64_t side = pretrained_window_sizes.empty() ? 0 : pretrained_window_sizes[stage];
    out.pretrained_window = {side, side};
    return out;
  }
};

template <class Archive, ConfigIs<SwinV2Config> Config>
void fields(Archive& a, Config& c) {
  pyramid_fields(a, c);
  score_fields(a, c.attention);
  a.field("pretrained_window_sizes", c.pretrained_window_sizes);
  a.only("block_norm", "post");
  a.only("merge_norm", "after");
}

void check(const std::string& op, const SwinV2Config& c) {
  check_pyramid(op, c);
  require(c.pretrained_window_sizes.empty() || c.pretrained_window_sizes.size() >= c.stages(), op,
          "{} pretrained_window_sizes; one a stage was expected, {} of them",
          c.pretrained_window_sizes.size(), c.stages());
}

/// Attention in windows: softmax(cos(q, k) tau + bias) v with tau = exp(min(logit_scale, logit_max)), a head
/// each. `logit_scale` (H, 1, 1), `q_bias`, `v_bias` (C) or `qkv.bias` (3 C), `cpb_mlp`, `qkv`, `proj`.
class CosineAttention {
 public:
  CosineAttention(const Weights& w, const CosineConfig& c) : c_(c), path_(w.path()) {
    using Bias = CosineConfig::Bias;
    const Pair &window = c.window, &before = c.pretrained_window;
    require(before.rows != 1 && before.columns != 1, "swin_v2",
            "a window pretrained at {} x {} measures no distance; 0 (none) or at least 2 was expected",
            before.rows, before.columns);
    const Init start = Init::trunc_normal(SwinV2Cpb::kInitStd);
    logit_scale_ = w.get("logit_scale", {c.heads, 1, 1}, Init::constant(std::log(10.0f)), {.decay = false});
    if (c.qkv_bias == Bias::q_v) {
      q_bias_ = w.get("q_bias", {c.dim}, Init::zeros());
      v_bias_ = w.get("v_bias", {c.dim}, Init::zeros());
    }
    cpb_ = {{window.rows, window.columns}, {before.rows, before.columns}, c.bias_scale};
    cpb_.first_weight = w.get(SwinV2Cpb::kFirstWeight, {c.cpb_hidden, 2}, start, {.decay = false});
    cpb_.first_bias = w.get(SwinV2Cpb::kFirstBias, {c.cpb_hidden}, Init::zeros());
    cpb_.second_weight = w.get(SwinV2Cpb::kSecondWeight, {c.heads, c.cpb_hidden}, start, {.decay = false});
    qkv_ = Linear(w / "qkv", c.dim, 3 * c.dim, {.bias = false});
    if (c.qkv_bias == Bias::full_k_zeroed) qkv_bias_ = (w / "qkv").get("bias", {3 * c.dim}, Init::zeros());
    proj_ = Linear(w / "proj", c.dim, c.dim);
  }

  /// x (B, N, C) -> the same. The layout cuts the N tokens of its grid into windows; without one they are a
  /// window. Shows cpb_mlp (1, 2 Wh - 1, 2 Ww - 1, H), before the sigmoid, and proj.
  Var operator()(const Context& ctx, const Var& x, const WindowMaps& maps,
                 const WindowLayout* layout = nullptr) const {
    const Var out = proj_(ctx, attend(ctx, x, maps, layout));
    ctx.show([&] { return join_path(path_, "proj"); }, out);
    return out;
  }

 private:
  /// Windows, shift and padding are row maps of the fused op, nothing is copied into windows.
  Var attend(const Context& ctx, const Var& x, const WindowMaps& maps, const WindowLayout* layout) const {
    const std::int64_t C = c_.dim;
    const Var logits = swin_v2_cpb_logits(ctx, cpb_, c_.heads);
    ctx.show([&] { return join_path(path_, "cpb_mlp"); }, logits);
    const bool whole = layout == nullptr, pads = !whole && layout->pads();
    AttentionOptions options;
    options.heads = c_.heads;
    options.scale = 1.0f;  // tau is in q
    // A window smaller than the one of the table takes its middle: distances mean the same in both.
    options.terms = {swin_bias_term({cpb_.window, swin_v2_cpb_table(ctx, cpb_, logits)},
                                    maps.gather(cpb_.window, whole ? cpb_.window : layout->window))};
    if (!whole) options.rows = maps.rows(*layout);
    Var qkv = qkv_(ctx, x);  // (B, N, 3 C), q | k | v, head-major
    const Var bias = joint_bias(ctx);
    if (bias.defined()) qkv = add(ctx, qkv, bias);
    // A padded token is zero before the projection: its key has no direction, its value is the bias.
    if (pads) options.pad_bias = bias;
    options.zero_pad = pads && !bias.defined();
    const Var tau = reshape(ctx, exp(ctx, clamp_max(ctx, logit_scale_, c_.logit_max)), {c_.heads, 1});
    const Var q = multiply(ctx, direction(ctx, qkv, 0), tau), k = direction(ctx, qkv, 1);
    const Var v = slice_axis(ctx, qkv, 2, 2 * C, 3 * C);
    qkv = {};  // its thirds are all that the rest needs
    return attention(ctx, reshape(ctx, q, v.shape()), reshape(ctx, k, v.shape()), v, options);
  }
  /// (3 C), q | 0 | v; undefined without one.
  Var joint_bias(const Context& ctx) const {
    const std::int64_t C = c_.dim;
    const Var zeros(Tensor::zeros({C}));
    if (q_bias_.defined()) return concat_axis(ctx, {q_bias_, zeros, v_bias_}, 0);
    if (!qkv_bias_.defined()) return {};
    const Var q = slice_axis(ctx, qkv_bias_, 0, 0, C), v = slice_axis(ctx, qkv_bias_, 0, 2 * C, 3 * C);
    return concat_axis(ctx, {q, zeros, v}, 0);
  }
  /// Queries (0) or keys (1) of length 1, (B, N, H, C / H).
  Var direction(const Context& ctx, const Var& qkv, std::int64_t which) const {
    const Var part = slice_axis(ctx, qkv, 2, which * c_.dim, (which + 1) * c_.dim);
    return l2_normalize(ctx, reshape(ctx, part, {qkv.dim(0), qkv.dim(1), c_.heads, c_.dim / c_.heads}),
                        c_.l2_eps);
  }

  CosineConfig c_;
  std::string path_;
  Var logit_scale_, q_bias_, v_bias_, qkv_bias_;
  SwinV2Cpb cpb_;
  Linear qkv_, proj_;
};

/// Each sample is a window.
class WindowLayer final : public ModelOf<CosineConfig> {
 public:
  WindowLayer(const Family& family, CosineConfig config, const Weights& w)
      : ModelOf(family, std::move(config)), attention_(w, c()) {}
  static std::vector<std::string> call_options() { return {"batch_windows"}; }
  std::vector<Port> inputs() const override { return with_options({{"input", "B N C"}}, call_options()); }
  std::vector<Port> outputs() const override { return {{"output", "B N C"}}; }

 protected:
  Values compute(const Context& ctx, const Values& in) const override {
    const Var& x = in.at("input");
    require_grid(op(), x, {1, c().window.rows, c().window.columns});
    if (in.get("batch_windows").defined())
      require(x.dim(0) == in.number("batch_windows"), op(), "{} windows in an input of shape {}",
              in.number("batch_windows"), x.shape().str());
    return {{"output", attention_(ctx, x, maps_)}};
  }

 private:
  CosineAttention attention_;
  WindowMaps maps_;
};

/// x + norm1(attention x), then + norm2(mlp x).
class Block {
 public:
  Block(const Weights& w, const SwinV2Config& c, std::size_t stage, Window window, float drop_path)
      : path_(w.path()), residual_(drop_path), attention_(w / "attn", c.attention_in(stage, window)) {
    const std::int64_t C = c.width(stage);
    // A block starts as the identity; torchvision's, told by its kind of bias, does not.
    const bool torchvision = c.attention.qkv_bias == CosineConfig::Bias::full_k_zeroed;
    const Init start = torchvision ? Init::ones() : Init::zeros();
    norm1_ = LayerNorm(w / "norm1", C, c.norm_eps, start);
    norm2_ = LayerNorm(w / "norm2", C, c.norm_eps, start);
    mlp_ = Mlp(w / "mlp", C, scaled_width(C, c.mlp_ratio));
  }
  /// x (B, rows * columns, C).
  Var operator()(const Context& ctx, Var x, const WindowLayout& layout, const WindowMaps& maps) const {
    const auto plus = [&](const Var& skip, const Var& y) { return skip.defined() ? add(ctx, skip, y) : y; };
    x = residual_(ctx, x, [&](const Var& skip) {
      const Var y = attention_(ctx, x, maps, &layout);
      if (ctx.probe != nullptr)  // as the libraries see it, in window order
        ctx.show([&] { return path_ + ".attn"; }, Var(window_order(y.value(), *maps.rows(layout))));
      return plus(skip, norm1_(ctx, y));
    });
    return residual_(ctx, x, [&](const Var& skip) { return plus(skip, norm2_(ctx, mlp_(ctx, x))); });
  }

 private:
  std::string path_;
  Residual residual_;
  CosineAttention attention_;
  LayerNorm norm1_, norm2_;
  Mlp mlp_;
};

/// norm(reduction x): of four neighbours' channels, twice those of one.
class Merging {
 public:
  Merging(const Weights& w, const SwinV2Config& c, std::size_t stage)
      : reduction_(w / "reduction", 4 * c.width(stage), c.width(stage + 1), {.bias = false}),
        norm_(w / "norm", c.width(stage + 1), c.grid_eps()) {}
  Var operator()(const Context& ctx, const Var& x) const { return norm_(ctx, reduction_(ctx, x)); }

 private:
  Linear reduction_;
  LayerNorm norm_;
};

using SwinV2 = SwinPyramid<SwinV2Config, Block, Merging>;

struct Size {
  const char* name;
  std::int64_t dim, depth;          // depth: of stage 2, the others have two blocks
  double drop_path;                 // of the training on ImageNet-1k
  std::int64_t torchvision_resize;  // short side before its 256 crop; 0: torchvision has no such model
};

constexpr Size kSizes[] = {{"tiny", 96, 6, 0.2, 260},
                           {"small", 96, 18, 0.3, 260},
                           {"base", 128, 18, 0.5, 272},
                           {"large", 192, 18, 0.2, 0}};

struct Recipe {
  const char* name;
  std::int64_t window, image, classes;
  bool from_22k, pretrained;  // trained on ImageNet-22k; then tuned with larger windows
};

constexpr Recipe kRecipes[] = {{"window8_256", 8, 256, 1000, false, false},
                               {"window16_256", 16, 256, 1000, false, false},
                               {"window12_192", 12, 192, 21841, true, false},
                               {"window12to16_192to256", 16, 256, 1000, true, true},
                               {"window12to24_192to384", 24, 384, 1000, true, true}};

SwinV2Config config_of(const Size& size, const Recipe& recipe) {
  const std::int64_t heads = size.dim / 32;
  SwinV2Config c;
  c.input.img_size = {recipe.image, recipe.image};
  c.input.num_classes = recipe.classes;
  c.dim = size.dim;
  c.window = {recipe.window, recipe.window};
  c.depths = {2, 2, size.depth, 2};
  c.heads = {heads, 2 * heads, 4 * heads, 8 * heads};
  if (recipe.pretrained) c.pretrained_window_sizes = {12, 12, 12, 6};  // 6: all that 192 / 32 has
  c.drop_path = recipe.from_22k ? 0.2 : size.drop_path;
  return c;
}

std::vector<Variant<SwinV2Config>> variants() {
  std::vector<Variant<SwinV2Config>> out;
  for (const Size& size : kSizes)
    for (const Recipe& recipe : kRecipes) {
      if (recipe.from_22k ? size.dim < 128 : size.dim > 128) continue;  // not trained
      out.push_back(
          {fmt::format("swinv2_{}_{}", size.name, recipe.name),
           config_of(size, recipe),
           {.rows = recipe.image, .columns = recipe.image, .crop_pct = recipe.image == 384 ? 1.0 : 0.9},
           "Swin V2, Liu et al. 2022"});
      if (recipe.classes > 1000) {
        out.back().note = "Swin V2 on the 21,841 classes of ImageNet-22k";
        out.back().aliases = {out.back().name + ".ms_in22k"};
      }
      if (recipe.window == 8) out.back().aliases = {fmt::format("swinv2_{}", size.name)};
    }
  for (const Size& size : kSizes) {
    if (size.torchvision_resize == 0) continue;
    const std::string name = fmt::format("swin_v2_{}", size.name[0]);
    out.push_back({name,
                   config_of(size, kRecipes[0]),
                   {.rows = 256, .columns = 256, .resize_to = size.torchvision_resize},
                   "Swin V2 as trained by torchvision",
                   {"torchvision/" + name},
                   "torchvision"});
    out.back().config.window_fit = GridFit::pad;
    out.back().config.input.patch_remainder = PatchInput::Remainder::drop;
    out.back().config.attention.qkv_bias = CosineConfig::Bias::full_k_zeroed;
  }
  return out;
}

/// Windows have no parameter's shape. The coordinate tables of Microsoft's and torchvision's files have that
/// of the window, but not of the one before it: where registered models differ in either, it must be told.
void tell_windows(const NamedShapes& s, SwinV2Config& c) {
  const std::optional<Shape> table = s.derived("layers.0.blocks.0.attn.relative_coords_table");
  if (table && table->rank() == 4 && std::max((*table)[1], (*table)[2]) < 512) {
    c.window = {((*table)[1] + 1) / 2, ((*table)[2] + 1) / 2};
    s.assume("pretrained_window_sizes", c.pretrained_window_sizes);
    return;
  }
  require(s.told("window"), "swin_v2",
          "no tensor's shape says window, pretrained_window_sizes and img_size, so they must be told");
}

void from_shapes(const NamedShapes& s, SwinV2Config& c) {
  using Bias = CosineConfig::Bias;
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.dim = s.dim("patch_embed.proj.weight", 0);
  c.SwinStages::from_shapes(s, "logit_scale", 0);
  const bool full = s.has("layers.0.blocks.0.attn.qkv.bias"), q_v = s.has("layers.0.blocks.0.attn.q_bias");
  c.attention.qkv_bias = full ? Bias::full_k_zeroed : q_v ? Bias::q_v : Bias::none;
  c.attention.cpb_hidden = s.dim("layers.0.blocks.0.attn.cpb_mlp.0.weight", 0);
  s.ratio("layers.0.blocks.0.mlp.fc1.weight", c.mlp_ratio);
  c.patch_norm = s.has("patch_embed.norm.weight");
  c.absolute_pos = s.has("absolute_pos_embed");
  tell_windows(s, c);
  const Pair window = c.window, patch = c.input.patch_size;
  const std::optional<Shape> mask = s.derived("layers.0.blocks.1.attn_mask");  // (windows, tokens, tokens)
  const std::size_t last = c.stages() - 1;
  const Pair one = {patch.rows * window.rows << last, patch.columns * window.columns << last};
  if (c.absolute_pos)
    c.input.image_of(s, "swin_v2", s.dim("absolute_pos_embed", 1));
  else if (mask && mask->rank() == 3 && mask->numel() > 0)
    c.input.image_of(s, "swin_v2", (*mask)[0] * (*mask)[1]);
  else  // usually the last stage is one window
    s.assume("img_size", c.input.img_size, one);
  s.assume("norm_eps", c.norm_eps);
}

/// V1's keys and names, but for the attention.
std::vector<HubKeys> hub() {
  std::vector<HubKeys> out = kSwin.hub();
  out[0].model_type = "swinv2";
  out[0].written.name = "Swinv2";
  out[0].keys.emplace_back("pretrained_window_sizes", "pretrained_window_sizes");
  return out;
}

std::vector<Renames> renames() {
  std::vector<Renames> out = kSwin.renames();
  for (Renames& names : out) {
    names.derived = {"*.relative_position_index", "*.relative_coords_table", "*.attn_mask", "*.k_bias"};
    if (names.naming == "microsoft/Swin-Transformer")
      names.preprocess = {{"", R"({"crop_pct":0.875})"}, {"rows=384", R"({"mode":"squash"})"}};
    if (names.naming == "torchvision") names.overrides.push_back({"", R"({"qkv_bias":"full_k_zeroed"})"});
    if (names.naming != "transformers") continue;
    names.prefix = "swinv2.";
    const std::string ours = "layers.{s}.blocks.{b}.attn.",
                      theirs = "encoder.layers.{s}.blocks.{b}.attention.self.";
    for (const auto& [our, their] : {std::pair{"q_bias", "query.bias"},
                                     {"v_bias", "value.bias"},
                                     {"logit_scale", "logit_scale"},
                                     {"cpb_mlp", "continuous_position_bias_mlp"}})
      names.rules.insert(names.rules.begin(), Renames::Rule((ours + our).c_str(), (theirs + their).c_str()));
  }
  return out;
}

}  // namespace
}  // namespace swin_v2_model

const Family kSwinV2 = family<swin_v2_model::SwinV2, swin_v2_model::variants, swin_v2_model::renames,
                              swin_v2_model::from_shapes, swin_v2_model::hub>("swin_v2");
const Family kWindowAttentionV2 = family<swin_v2_model::WindowLayer, nullptr>("window_attention_v2");

}  // namespace locant
