// PVT v2: Wang et al. 2022, "PVT v2: Improved Baselines with Pyramid Vision Transformer", figures 1 (linear
// spatial-reduction attention) and 2 (overlapping patches, convolutional feed-forward). Nothing but the zeros
// around the depthwise convolutions says where a token is. Names: whai362/PVT, whose stages count from 1;
// `stageN` is what timm calls stages.N, a normed picture.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/conv_layers.h"
#include "nn/peg.h"
#include "nn/spatial_reduction_attention.h"
#include "ops/activation.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {
namespace pvt_v2_model {
namespace {

constexpr std::size_t kMostStages = 8;
const std::vector<std::int64_t> kKernels = {7, 3, 3, 3}, kStrides = {4, 2, 2, 2};

struct PvtV2Config {
  Pair img_size = {224, 224};  // any size runs
  std::int64_t in_chans = 3, num_classes = 1000;
  std::vector<std::int64_t> dims = {64, 128, 320, 512}, depths = {3, 4, 6, 3}, heads = {1, 2, 5, 8};
  std::vector<double> mlp_ratios = {8, 8, 4, 4};
  std::vector<std::int64_t> sr_ratios = {8, 4, 2, 1};  // of no use where linear
  std::vector<std::int64_t> patch_kernels = kKernels, patch_strides = kStrides;
  bool linear = false;  // keys and values of linear_pool x linear_pool means, and a ReLU behind fc1
  std::int64_t linear_pool = 7, mlp_kernel = 3;
  bool qkv_bias = true;
  float norm_eps = 1e-6f;                             // of blocks and stages
  float patch_norm_eps = 1e-5f, sr_norm_eps = 1e-5f;  // of patches; of reduced keys
  double drop_path = 0.0;                             // of the last block; rises linearly from 0

  std::size_t stages() const { return dims.size(); }
  /// Zeros around the pictures that patches are taken from.
  std::vector<std::int64_t> patch_pads() const {
    std::vector<std::int64_t> out = patch_kernels;
    for (std::int64_t& side : out) side /= 2;
    return out;
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("img_size", c.img_size, at_least(1));
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("num_classes", c.num_classes);
  a.field("dims", c.dims, at_least(1));
  a.field("depths", c.depths, range(1, 1024));
  a.field("heads", c.heads, range(1, 256));
  a.field("mlp_ratios", c.mlp_ratios, below(1024));
  a.field("sr_ratios", c.sr_ratios, range(1, 256));
  a.field("patch_kernels", c.patch_kernels, range(1, 255));
  a.field("patch_strides", c.patch_strides, range(1, 255));
  a.only("patch_pads", c.patch_pads());
  a.field("linear", c.linear);
  a.field("linear_pool", c.linear_pool, range(1, 256));
  a.field("mlp_kernel", c.mlp_kernel, range(1, 31));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("norm_eps", c.norm_eps);
  a.field("patch_norm_eps", c.patch_norm_eps);
  a.field("sr_norm_eps", c.sr_norm_eps);
  a.field("drop_path", c.drop_path, rate());
  a.only("act", "gelu");
  a.only("pool", "mean");
}

void check(const std::string& op, const PvtV2Config& c) {
  same_length(op, {{"dims", c.dims.size()},
                   {"depths", c.depths.size()},
                   {"heads", c.heads.size()},
                   {"mlp_ratios", c.mlp_ratios.size()},
                   {"patch_kernels", c.patch_kernels.size()},
                   {"patch_strides", c.patch_strides.size()},
                   {"sr_ratios", c.linear ? c.dims.size() : c.sr_ratios.size()}});
  require(c.stages() >= 1 && c.stages() <= kMostStages, op, "{} stages; 1 to {} were expected", c.stages(),
          kMostStages);
  for (std::size_t s = 0; s < c.stages(); ++s) {
    require(c.dims[s] % c.heads[s] == 0, op, "stage {}: width {} does not divide into {} heads", s + 1,
            c.dims[s], c.heads[s]);
    require(scaled_width(c.dims[s], c.mlp_ratios[s]) >= 1, op,
            "stage {}: mlp_ratio {} leaves no channel of {}", s + 1, c.mlp_ratios[s], c.dims[s]);
  }
  require(c.mlp_kernel % 2 == 1, op, "mlp_kernel {} must be odd", c.mlp_kernel);
}

/// Overlapping patches, normed: images (B, in, H, W) -> (B, rows * columns, C).
class OverlapPatchEmbed {
 public:
  OverlapPatchEmbed(const Weights& w, const PvtV2Config& c, std::size_t stage) {
    const std::int64_t kernel = c.patch_kernels[stage], C = c.dims[stage];
    Conv2d::Options options = Conv2d::square(kernel, c.patch_strides[stage], kernel / 2);
    options.weight_init = fan_out_init(kernel * kernel * C);
    options.bias_init = Init::zeros();
    proj_ = Conv2d(w / "proj", stage == 0 ? c.in_chans : c.dims[stage - 1], C, options);
    norm_ = LayerNorm(w / "norm", C, c.patch_norm_eps);
  }
  Var operator()(const Context& ctx, const Var& images, Grid& grid) const {
    const Var x = proj_(ctx, images);
    grid = {1, x.dim(2), x.dim(3)};
    return norm_(ctx, images_to_tokens(ctx, x));
  }

 private:
  Conv2d proj_;
  LayerNorm norm_;
};

/// fc2(gelu(DWConv(a(fc1 x)))), a ReLU in the linear variant, else nothing.
class ConvFeedForward {
 public:
  ConvFeedForward(const Weights& w, const PvtV2Config& c, std::size_t stage) : relu_(c.linear) {
    const std::int64_t C = c.dims[stage], hidden = scaled_width(C, c.mlp_ratios[stage]), k = c.mlp_kernel;
    fc1_ = Linear(w / "fc1", C, hidden);
    peg_ = make_peg(w / "dwconv" / "dwconv", {.width = hidden, .kernel = k, .residual = false},
                    fan_out_init(k * k), Init::zeros());
    fc2_ = Linear(w / "fc2", hidden, C);
  }
  Var operator()(const Context& ctx, const Var& x, Grid grid, const Var& skip) const {
    Var y = fc1_(ctx, x);
    if (relu_) y = relu(ctx, y);
    y = peg(ctx, peg_, y, grid, 0, Activation::gelu);
    return fc2_(ctx, y, Activation::none, skip);
  }

 private:
  bool relu_;
  Linear fc1_, fc2_;
  Peg peg_;
};

SpatialReductionAttention::Options attention_of(const PvtV2Config& c, std::size_t stage) {
  const std::int64_t C = c.dims[stage], ratio = c.linear ? 1 : c.sr_ratios[stage];
  return {.width = C,
          .heads = c.heads[stage],
          .ratio = ratio,
          .pool = c.linear ? c.linear_pool : 0,
          .qkv_bias = c.qkv_bias,
          .norm_eps = c.sr_norm_eps,
          .sr_init = fan_out_init(C * ratio * ratio)};
}

/// x + attention(norm1 x), then + mlp(norm2 x).
class Block {
 public:
  Block(const Weights& w, const PvtV2Config& c, std::size_t stage, float drop_path)
      : norm1_(w / "norm1", c.dims[stage], c.norm_eps),
        attn_(w / "attn", attention_of(c, stage)),
        norm2_(w / "norm2", c.dims[stage], c.norm_eps),
        mlp_(w / "mlp", c, stage),
        residual_(drop_path) {}
  Var operator()(const Context& ctx, Var x, Grid grid) const {
    x = residual_(ctx, x, [&](const Var& skip) { return attn_(ctx, norm1_(ctx, x), grid, skip); });
    return residual_(ctx, x, [&](const Var& skip) { return mlp_(ctx, norm2_(ctx, x), grid, skip); });
  }

 private:
  LayerNorm norm1_;
  SpatialReductionAttention attn_;
  LayerNorm norm2_;
  ConvFeedForward mlp_;
  Residual residual_;
};

class PvtV2 final : public ImageModelOf<PvtV2Config> {
 public:
  PvtV2(const Family& family, PvtV2Config config, const Weights& w);
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, mean_pool(ctx, encode(ctx, images, nullptr).tokens));
  }
  Features features(const Context& ctx, const Var& images) const override {
    Features out;
    out.cls = mean_pool(ctx, encode(ctx, images, &out.levels).tokens);
    return out;
  }

 private:
  using Level = Features::Level;
  struct Stage {
    OverlapPatchEmbed patch_embed;
    std::vector<Block> blocks;
    LayerNorm norm;
  };
  /// The last stage's tokens, normed as every stage's are. `levels`, when given, gets all.
  Level encode(const Context& ctx, const Var& images, std::vector<Level>* levels) const;
  Var run_stage(const Context& ctx, std::size_t stage, const Var& picture, Grid& grid) const;

  std::vector<Stage> stages_;
  Head head_;
};

PvtV2::PvtV2(const Family& family, PvtV2Config config, const Weights& w)
    : ImageModelOf(family, std::move(config)) {
  const PvtV2Config& c = this->c();
  const std::vector<float> rates = drop_rates(std::reduce(c.depths.begin(), c.depths.end()), c.drop_path);
  auto rate = rates.begin();
  for (std::size_t s = 0; s < c.stages(); ++s) {
    const auto named = [&](const char* name) { return w / fmt::format("{}{}", name, s + 1); };
    OverlapPatchEmbed patch_embed(named("patch_embed"), c, s);
    std::vector<Block> blocks;
    for (std::int64_t b = 0; b < c.depths[s]; ++b) blocks.emplace_back(named("block") / b, c, s, *rate++);
    stages_.push_back({std::move(patch_embed), std::move(blocks), {named("norm"), c.dims[s], c.norm_eps}});
  }
  head_ = Head(w / "head", c.dims.back(), c.num_classes);
}

Var PvtV2::run_stage(const Context& ctx, std::size_t stage, const Var& picture, Grid& grid) const {
  const Stage& s = stages_[stage];
  const auto show = [&](const char* name, const Var& x) {
    ctx.show([&] { return fmt::format("{}{}", name, stage + 1); }, x);
  };
  Var x = s.patch_embed(ctx, picture, grid);
  show("patch_embed", x);
  for (std::size_t b = 0; b < s.blocks.size(); ++b) {
    x = s.blocks[b](ctx, std::move(x), grid);
    ctx.show([&] { return fmt::format("block{}.{}", stage + 1, b); }, x);
  }
  x = s.norm(ctx, x);
  show("norm", x);
  if (ctx.probe != nullptr) show("stage", tokens_to_images(Context{}, x, grid.rows, grid.columns));
  return x;
}

Features::Level PvtV2::encode(const Context& ctx, const Var& images, std::vector<Level>* levels) const {
  require_images(op(), images, c().in_chans);
  Level x;
  x.stride = 1;
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    const Var picture = s == 0 ? images : tokens_to_images(ctx, x.tokens, x.grid.rows, x.grid.columns);
    x.stride *= c().patch_strides[s];
    x.tokens = run_stage(ctx, s, picture, x.grid);
    if (levels != nullptr) levels->push_back(x);
  }
  return x;
}

/// Heads are 64 channels wide, in b0 32: it has widths that 64 does not divide.
std::vector<std::int64_t> usual_heads(const std::vector<std::int64_t>& dims) {
  std::int64_t wide = 64;
  for (const std::int64_t dim : dims) wide = std::gcd(wide, dim);
  std::vector<std::int64_t> out;
  if (wide < 32) return out;
  for (const std::int64_t dim : dims) out.push_back(dim / wide);
  return out;
}

bool divide(const std::vector<std::int64_t>& heads, const std::vector<std::int64_t>& dims) {
  if (heads.size() != dims.size()) return false;
  for (std::size_t s = 0; s < dims.size(); ++s)
    if (heads[s] < 1 || dims[s] % heads[s] != 0) return false;
  return true;
}

/// The numbers of one stage.
void stage_from_shapes(const NamedShapes& s, std::size_t stage, PvtV2Config& c) {
  const std::string blocks = fmt::format("block{}", stage + 1), first = blocks + ".0",
                    patches = fmt::format("patch_embed{}.proj.weight", stage + 1);
  c.dims.push_back(s.dim(patches, 0));
  c.patch_kernels.push_back(s.dim(patches, 2));
  c.depths.push_back(s.count(blocks, ".norm1.weight"));
  double ratio = stage < c.mlp_ratios.size() ? c.mlp_ratios[stage] : 0.0;
  s.ratio(first + ".mlp.fc1.weight", ratio);
  if (stage < c.mlp_ratios.size())
    c.mlp_ratios[stage] = ratio;
  else
    c.mlp_ratios.push_back(ratio);
  if (!c.linear)
    c.sr_ratios.push_back(s.has(first + ".attn.sr.weight") ? s.dim(first + ".attn.sr.weight", 2) : 1);
}

void from_shapes(const NamedShapes& s, PvtV2Config& c) {
  c.mlp_kernel = s.dim("block1.0.mlp.dwconv.dwconv.weight", 2);
  c.in_chans = s.dim("patch_embed1.proj.weight", 1);
  c.num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
  c.qkv_bias = s.has("block1.0.attn.q.bias");
  const auto patches = [](std::size_t stage) { return fmt::format("patch_embed{}.proj.weight", stage + 1); };
  std::size_t stages = 1;
  while (stages < kMostStages && s.has(patches(stages))) ++stages;
  // Where nothing is reduced there is no sr, and where it is a product per token, means are.
  c.linear = s.has("block1.0.attn.sr.weight") && s.dim("block1.0.attn.sr.weight", 2) == 1;
  const std::vector<std::int64_t> told = c.sr_ratios;
  c.dims = c.depths = c.patch_kernels = c.sr_ratios = {};
  c.mlp_ratios.resize(std::min(stages, c.mlp_ratios.size()));
  for (std::size_t stage = 0; stage < stages; ++stage) stage_from_shapes(s, stage, c);
  if (c.linear) c.sr_ratios = told;
  std::vector<std::int64_t> strides = kStrides;
  strides.resize(stages, 2);
  s.assume("patch_strides", c.patch_strides, strides, c.patch_strides.size() == stages);
  const std::vector<std::int64_t> usual = usual_heads(c.dims);
  const bool fits = s.told("heads") && divide(c.heads, c.dims);
  require(fits || !usual.empty(), "pvt_v2",
          "widths {} are no multiples of the usual 32 or 64 channels of a head, so that heads must be told",
          fmt::join(c.dims, ", "));
  s.assume("heads", c.heads, usual, fits);
  if (c.linear) s.assume("linear_pool", c.linear_pool);
  s.assume("img_size", c.img_size);
  s.assume("norm_eps", c.norm_eps);
  s.assume("patch_norm_eps", c.patch_norm_eps);
  s.assume("sr_norm_eps", c.sr_norm_eps);
}

std::vector<Variant<PvtV2Config>> variants() {
  struct Size {
    const char* name;
    std::vector<std::int64_t> depths;
    double drop_path;  // of the repository's training
  };
  const Size sizes[] = {{"b0", {2, 2, 2, 2}, 0.1},    {"b1", {2, 2, 2, 2}, 0.1},  {"b2", {3, 4, 6, 3}, 0.1},
                        {"b2_li", {3, 4, 6, 3}, 0.1}, {"b3", {3, 4, 18, 3}, 0.3}, {"b4", {3, 8, 27, 3}, 0.3},
                        {"b5", {3, 6, 40, 3}, 0.3}};
  std::vector<Variant<PvtV2Config>> out;
  for (const Size& size : sizes) {
    Variant<PvtV2Config>& v = out.emplace_back();
    const std::string name = size.name;
    v.name = "pvt_v2_" + name;
    v.config.depths = size.depths;
    v.config.drop_path = size.drop_path;
    if (name == "b0") v.config.dims = {32, 64, 160, 256};
    if (name == "b5") v.config.mlp_ratios = {4, 4, 4, 4};
    v.config.linear = name == "b2_li";
    v.preprocess.crop_pct = 0.875;
    v.note = v.config.linear ? "PVT v2 with linear attention, Wang et al. 2022: keys of 7 x 7 means"
                             : "PVT v2, Wang et al. 2022: overlapping patches, depthwise feed-forward";
  }
  return out;
}

std::string stage_keys(const std::string&, const std::string& config) {
  return fmt::format(R"({{"num_encoder_blocks":{}}})", read_config<PvtV2Config>("pvt_v2", config).stages());
}

std::vector<HubKeys> hub() {
  return {{.model_type = "pvt_v2",
           .keys = {{"image_size", "img_size"},
                    {"num_channels", "in_chans"},
                    {"hidden_sizes", "dims"},
                    {"depths", "depths"},
                    {"num_attention_heads", "heads"},
                    {"mlp_ratios", "mlp_ratios"},
                    {"sr_ratios", "sr_ratios"},
                    {"patch_sizes", "patch_kernels"},
                    {"strides", "patch_strides"},
                    {"linear_attention", "linear"},
                    {"qkv_bias", "qkv_bias"},
                    {"hidden_act", "act"},
                    {"layer_norm_eps", "norm_eps"},
                    {"layer_norm_eps", "patch_norm_eps"},
                    {"layer_norm_eps", "sr_norm_eps"},
                    {"drop_path_rate", "drop_path"}},
           .defaults = R"({"hidden_sizes":[32,64,160,256],"depths":[2,2,2,2],"layer_norm_eps":1e-6})",
           .values = {{"qkv_bias", "true", R"("full")"}, {"qkv_bias", "false", R"("none")"}},
           .inert = {"num_encoder_blocks"},
           .written = {.name = "PvtV2",
                       .constants = R"({"hidden_dropout_prob":0.0,"attention_probs_dropout_prob":0.0,)"
                                    R"("initializer_range":0.02})",
                       .whole = {"mlp_ratios"},
                       .more = stage_keys}}};
}

// Sources of the names: the state dicts of the libraries.
std::vector<Renames> renames() {
  Renames official;
  official.naming = "whai362/PVT";
  Renames timm;
  timm.naming = "timm";
  timm.rules = {{"patch_embed1", "patch_embed"},
                {"patch_embed{s+2}", "stages.{s+1}.downsample"},
                {"block{s+1}.{b}.mlp.dwconv.dwconv", "stages.{s}.blocks.{b}.mlp.dwconv"},
                {"block{s+1}", "stages.{s}.blocks"},
                {"norm{s+1}", "stages.{s}.norm"},
                {"stage{s+1}", "stages.{s}", true}};
  timm.preprocess = {{"", R"({"crop_pct":0.9})"}};
  Renames transformers;
  transformers.naming = "transformers";
  transformers.prefix = "pvt_v2.";
  transformers.rules = {
      {"patch_embed{s+1}.proj", "encoder.layers.{s}.patch_embedding.proj"},
      {"patch_embed{s+1}.norm", "encoder.layers.{s}.patch_embedding.layer_norm"},
      {"block{s+1}.{b}.norm1", "encoder.layers.{s}.blocks.{b}.layer_norm_1"},
      {"block{s+1}.{b}.norm2", "encoder.layers.{s}.blocks.{b}.layer_norm_2"},
      {"block{s+1}.{b}.attn.q", "encoder.layers.{s}.blocks.{b}.attention.query"},
      {"block{s+1}.{b}.attn.kv",
       {"encoder.layers.{s}.blocks.{b}.attention.key", "encoder.layers.{s}.blocks.{b}.attention.value"}},
      {"block{s+1}.{b}.attn.sr", "encoder.layers.{s}.blocks.{b}.attention.spatial_reduction"},
      {"block{s+1}.{b}.attn.norm", "encoder.layers.{s}.blocks.{b}.attention.layer_norm"},
      {"block{s+1}.{b}.attn", "encoder.layers.{s}.blocks.{b}.attention"},
      {"block{s+1}.{b}.mlp.fc1", "encoder.layers.{s}.blocks.{b}.mlp.dense1"},
      {"block{s+1}.{b}.mlp.fc2", "encoder.layers.{s}.blocks.{b}.mlp.dense2"},
      {"block{s+1}", "encoder.layers.{s}.blocks"},
      {"norm{s+1}", "encoder.layers.{s}.layer_norm"},
      {"head", "classifier"}};
  transformers.overrides = {{"", R"({"patch_norm_eps":1e-6,"sr_norm_eps":1e-6})"}};
  transformers.preprocess = {{"", R"({"mode":"squash"})"}};
  return {official, timm, transformers};
}

}  // namespace
}  // namespace pvt_v2_model

const Family kPvtV2 = family<pvt_v2_model::PvtV2, pvt_v2_model::variants, pvt_v2_model::renames,
                             pvt_v2_model::from_shapes, pvt_v2_model::hub>("pvt_v2");

}  // namespace locant
