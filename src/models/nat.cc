// NAT: Hassani et al. 2023, "Neighborhood Attention Transformer", figure 5 (the stages) and table 1. DiNAT:
// Hassani and Shi 2022, "Dilated Neighborhood Attention Transformer": every second block sees with gaps.
// Names: SHI-Labs/Neighborhood-Attention-Transformer, whose stages are levels.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/conv_layers.h"
#include "nn/layers.h"
#include "ops/attention/attention.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/natten.h"

namespace locant {
namespace nat_model {
namespace {

constexpr std::size_t kMostStages = 8;
constexpr float kPatchNormEps = 1e-5f;  // of patches and of halved grids, whatever norm_eps is

struct NatConfig {
  Pair img_size = {224, 224};  // any size runs
  std::int64_t in_chans = 3, num_classes = 1000;
  std::int64_t dim = 64;  // of stage 0; twice that in the next
  std::vector<std::int64_t> depths = {3, 4, 6, 5}, heads = {2, 4, 8, 16};
  std::int64_t kernel = 7;                   // places of a window, along a side
  std::vector<std::int64_t> dilations = {};  // of every block, stage after stage; none: 1 everywhere
  double mlp_ratio = 3.0;
  bool qkv_bias = true;
  float norm_eps = 1e-5f;
  bool layer_scale = false;
  float layer_scale_init = 1e-5f;
  double drop_path = 0.0;  // of the last block; rises linearly from 0

  std::size_t stages() const { return depths.size(); }
  std::int64_t width(std::size_t stage) const { return dim << stage; }
  std::int64_t blocks() const { return std::reduce(depths.begin(), depths.end()); }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("img_size", c.img_size, at_least(1));
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("num_classes", c.num_classes);
  a.field("dim", c.dim, divisible_by(2, "convolutions"));
  a.field("depths", c.depths, range(1, 1024));
  a.field("heads", c.heads, range(1, 1024));
  a.field("kernel", c.kernel, range(3, 255));
  a.field("dilations", c.dilations, range(1, 1 << 14));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("norm_eps", c.norm_eps);
  a.field("layer_scale", c.layer_scale);
  a.field("layer_scale_init", c.layer_scale_init);
  a.field("drop_path", c.drop_path, rate());
  a.only("act", "gelu");
  a.only("patch_size", std::int64_t{4});
  a.only("pool", "mean");
}

void check(const std::string& op, const NatConfig& c) {
  same_length(op, {{"depths", c.depths.size()}, {"heads", c.heads.size()}});
  require(c.stages() >= 1 && c.stages() <= kMostStages, op, "{} stages; 1 to {} were expected", c.stages(),
          kMostStages);
  for (std::size_t s = 0; s < c.stages(); ++s)
    require(c.width(s) % c.heads[s] == 0, op, "stage {}: width {} does not divide into {} heads", s,
            c.width(s), c.heads[s]);
  require(scaled_width(c.dim, c.mlp_ratio) >= 1, op, "mlp_ratio {} leaves no channel of {}", c.mlp_ratio,
          c.dim);
  require(c.kernel % 2 == 1, op, "kernel {} must be odd", c.kernel);
  const auto told = static_cast<std::int64_t>(c.dilations.size());
  require(told == 0 || told == c.blocks(), op, "{} dilations for {} blocks; one each, or none", told,
          c.blocks());
}

/// A dilation of 1 everywhere is none.
void tidy(NatConfig& c) {
  if (std::all_of(c.dilations.begin(), c.dilations.end(), [](std::int64_t d) { return d == 1; }))
    c.dilations.clear();
}

/// Who sees whom on a grid, built once and kept. Safe to call from several threads.
class NeighbourMaps {
 public:
  NattenMaps of(Window grid, std::int64_t kernel, std::int64_t dilation) const {
    constexpr std::size_t kMostKept = 64;  // pictures of ever new sizes
    const std::lock_guard lock(mutex_);
    const auto key = std::array{grid.rows, grid.columns, kernel, dilation};
    const auto found = maps_.find(key);
    if (found != maps_.end()) return found->second;
    if (maps_.size() >= kMostKept) maps_.clear();
    return maps_[key] = natten_maps(grid, kernel, dilation);
  }

 private:
  mutable std::mutex mutex_;
  mutable std::map<std::array<std::int64_t, 4>, NattenMaps> maps_;
};

/// `qkv` (3 C, C; rows q, k, v), `rpb`, `proj`. A grid that the window does not fit gets zeros at the bottom
/// and right, which are tokens like others, and loses them again.
class NeighbourhoodAttention {
 public:
  NeighbourhoodAttention(const Weights& w, const NatConfig& c, std::size_t stage, std::int64_t dilation) {
    const std::int64_t C = c.width(stage), side = 2 * c.kernel - 1;
    options_.heads = c.heads[stage];
    natten_.kernel = c.kernel;
    natten_.dilation = dilation;
    natten_.table = w.get(Natten::kTable, {options_.heads, side, side}, Init::trunc_normal(Natten::kInitStd),
                          {.decay = false});
    qkv_ = Linear(w / "qkv", C, 3 * C, {.bias = c.qkv_bias});
    proj_ = Linear(w / "proj", C, C);
  }
  /// x (B, rows * columns, C) -> the same, plus skip where that is defined.
  Var operator()(const Context& ctx, const Var& x, Grid grid, const NeighbourMaps& maps,
                 const Var& skip) const {
    const std::int64_t least = natten_.kernel * natten_.dilation;
    const Window window = {std::max(grid.rows, least), std::max(grid.columns, least)};
    const bool pads = window.rows > grid.rows || window.columns > grid.columns;
    AttentionOptions options = options_;
    add_natten(ctx, natten_, maps.of(window, natten_.kernel, natten_.dilation), options);
    const Var y = attention(ctx, qkv_(ctx, pads ? padded(ctx, x, grid, window) : x), options);
    return proj_(ctx, pads ? cropped(ctx, y, grid, window) : y, Activation::none, skip);
  }

 private:
  static Var padded(const Context& ctx, const Var& x, Grid grid, Window to) {
    const Var images = tokens_to_images(ctx, x, grid.rows, grid.columns);
    return images_to_tokens(ctx, pad_to_patches(ctx, images, to.rows, to.columns));
  }
  static Var cropped(const Context& ctx, const Var& x, Grid grid, Window from) {
    const Var images = tokens_to_images(ctx, x, from.rows, from.columns);
    return images_to_tokens(ctx,
                            slice_axis(ctx, slice_axis(ctx, images, 2, 0, grid.rows), 3, 0, grid.columns));
  }

  AttentionOptions options_;
  Natten natten_;
  Linear qkv_, proj_;
};

/// x + gamma1 attention(norm1 x), then + gamma2 mlp(norm2 x).
class Block {
 public:
  Block(const Weights& w, const NatConfig& c, std::size_t stage, std::int64_t dilation, float drop_path)
      : norm1_(w / "norm1", c.width(stage), c.norm_eps),
        attention_(w / "attn", c, stage, dilation),
        norm2_(w / "norm2", c.width(stage), c.norm_eps),
        mlp_(w / "mlp", c.width(stage), scaled_width(c.width(stage), c.mlp_ratio)) {
    const auto residual = [&](const char* gamma) {
      return Residual(drop_path, c.layer_scale
                                     ? w.get(gamma, {c.width(stage)}, Init::constant(c.layer_scale_init))
                                     : Var());
    };
    residual1_ = residual("gamma1");
    residual2_ = residual("gamma2");
  }
  Var operator()(const Context& ctx, Var x, Grid grid, const NeighbourMaps& maps) const {
    x = residual1_(ctx, x,
                   [&](const Var& skip) { return attention_(ctx, norm1_(ctx, x), grid, maps, skip); });
    return residual2_(ctx, x, [&](const Var& skip) { return mlp_(ctx, norm2_(ctx, x), skip); });
  }

 private:
  LayerNorm norm1_;
  NeighbourhoodAttention attention_;
  LayerNorm norm2_;
  Mlp mlp_;
  Residual residual1_, residual2_;
};

/// Two convolutions of 3 x 3 by steps of 2 with nothing between them, then the norm: a quarter of each side.
class ConvTokenizer {
 public:
  ConvTokenizer(const Weights& w, const NatConfig& c)
      : first_(w / "proj" / 0, c.in_chans, c.dim / 2, Conv2d::square(3, 2, 1)),
        second_(w / "proj" / 1, c.dim / 2, c.dim, Conv2d::square(3, 2, 1)),
        norm_(w / "norm", c.dim, kPatchNormEps) {}
  Var operator()(const Context& ctx, const Var& images, Grid& grid) const {
    const Var x = second_(ctx, first_(ctx, images));
    grid = {1, x.dim(2), x.dim(3)};
    return norm_(ctx, images_to_tokens(ctx, x));
  }

 private:
  Conv2d first_, second_;
  LayerNorm norm_;
};

/// norm of a convolution of 3 x 3 by steps of 2: half of each side, twice the channels.
class ConvDownsampler {
 public:
  ConvDownsampler() = default;
  ConvDownsampler(const Weights& w, const NatConfig& c, std::size_t stage)
      : reduction_(w / "reduction", c.width(stage), c.width(stage + 1), Conv2d::square(3, 2, 1, 1, false)),
        norm_(w / "norm", c.width(stage + 1), kPatchNormEps) {}
  Var operator()(const Context& ctx, const Var& tokens, Grid& grid) const {
    const Var x = reduction_(ctx, tokens_to_images(ctx, tokens, grid.rows, grid.columns));
    grid = {1, x.dim(2), x.dim(3)};
    return norm_(ctx, images_to_tokens(ctx, x));
  }

 private:
  Conv2d reduction_;
  LayerNorm norm_;
};

class Nat final : public ImageModelOf<NatConfig> {
 public:
  Nat(const Family& family, NatConfig config, const Weights& w)
      : ImageModelOf(family, std::move(config)), patch_embed_(w / "patch_embed", c()) {
    const NatConfig& c = this->c();
    const std::vector<float> rates = drop_rates(c.blocks(), c.drop_path);
    std::size_t block = 0;
    for (std::size_t s = 0; s < c.stages(); ++s) {
      const Weights level = w / "levels" / static_cast<std::int64_t>(s);
      Stage stage;
      for (std::int64_t b = 0; b < c.depths[s]; ++b, ++block)
        stage.blocks.emplace_back(level / "blocks" / b, c, s, c.dilations.empty() ? 1 : c.dilations[block],
                                  rates[block]);
      if (s + 1 < c.stages()) stage.downsample = ConvDownsampler(level / "downsample", c, s);
      stages_.push_back(std::move(stage));
    }
    norm_ = LayerNorm(w / "norm", c.width(c.stages() - 1), c.norm_eps);
    head_ = Head(w / "head", c.width(c.stages() - 1), c.num_classes);
  }
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, mean_pool(ctx, encode(ctx, images, nullptr)));
  }
  Features features(const Context& ctx, const Var& images) const override {
    Features out;
    out.cls = mean_pool(ctx, encode(ctx, images, &out.levels));
    return out;
  }

 private:
  using Level = Features::Level;
  struct Stage {
    std::vector<Block> blocks;
    ConvDownsampler downsample;  // behind all but the last
  };
  /// The last stage's tokens, normed: (B, rows * columns, C). `levels`, when given, gets every stage's.
  Var encode(const Context& ctx, const Var& images, std::vector<Level>* levels) const {
    require_images(op(), images, c().in_chans);
    Grid grid;
    Var x = ctx.shown("patch_embed", patch_embed_(ctx, images, grid));
    for (std::size_t s = 0; s < stages_.size(); ++s) {
      const std::string path = fmt::format("levels.{}", s);
      for (std::size_t b = 0; b < stages_[s].blocks.size(); ++b) {
        x = stages_[s].blocks[b](ctx, std::move(x), grid, maps_);
        ctx.show([&] { return fmt::format("{}.blocks.{}", path, b); }, x);
      }
      const bool last = s + 1 == stages_.size();
      const Grid own = grid;
      const Var tokens = x;
      x = last ? norm_(ctx, x) : stages_[s].downsample(ctx, x, grid);
      ctx.show([&] { return last ? "norm" : path; }, x);
      if (levels != nullptr) levels->push_back({last ? x : tokens, own, std::int64_t{4} << s});
    }
    return x;
  }

  ConvTokenizer patch_embed_;
  std::vector<Stage> stages_;
  LayerNorm norm_;
  Head head_;
  NeighbourMaps maps_;
};

void from_shapes(const NamedShapes& s, NatConfig& c) {
  const auto first = [](std::size_t stage) { return fmt::format("levels.{}.blocks.0", stage); };
  c.kernel = (s.dim("levels.0.blocks.0.attn.rpb", 1) + 1) / 2;
  c.dim = s.dim("patch_embed.proj.1.weight", 0);
  c.in_chans = s.dim("patch_embed.proj.0.weight", 1);
  c.num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
  c.qkv_bias = s.has(first(0) + ".attn.qkv.bias");
  c.layer_scale = s.has(first(0) + ".gamma1");
  s.ratio(first(0) + ".mlp.fc1.weight", c.mlp_ratio);
  c.depths = c.heads = {};
  for (std::size_t stage = 0; stage < kMostStages && s.has(first(stage) + ".attn.rpb"); ++stage) {
    c.depths.push_back(s.count(fmt::format("levels.{}.blocks", stage), ".norm1.weight"));
    c.heads.push_back(s.dim(first(stage) + ".attn.rpb", 0));
  }
  const auto told = static_cast<std::int64_t>(c.dilations.size());
  s.assume("dilations", c.dilations, {}, told == 0 || told == c.blocks());
  s.assume("img_size", c.img_size);
  s.assume("norm_eps", c.norm_eps);
}

/// 1, d, 1, d, ... in each stage, d as far as the window reaches: kernel * d places span the grid.
using Far = std::vector<std::int64_t>;
std::vector<std::int64_t> far_and_near(const std::vector<std::int64_t>& depths, const Far& far) {
  std::vector<std::int64_t> out;
  for (std::size_t s = 0; s < depths.size(); ++s)
    for (std::int64_t b = 0; b < depths[s]; ++b) out.push_back(b % 2 == 0 ? 1 : far[s]);
  return out;
}

std::vector<Variant<NatConfig>> variants() {
  struct Size {
    const char* name;
    std::int64_t dim, heads, third;  // heads of stage 0; blocks of stage 2
    double mlp_ratio, drop_path;
    bool layer_scale, dinat_layer_scale;
  };
  const Size sizes[] = {{"mini", 64, 2, 6, 3, 0.2, false, false},
                        {"tiny", 64, 2, 18, 3, 0.2, false, false},
                        {"small", 96, 3, 18, 2, 0.3, true, false},
                        {"base", 128, 4, 18, 2, 0.5, true, true},
                        {"large", 192, 6, 18, 2, 0.35, false, false}};
  std::vector<Variant<NatConfig>> out;
  for (const bool dilated : {false, true})
    for (const Size& size : sizes) {
      const std::string name = size.name;
      if (name == "large" && !dilated) continue;
      Variant<NatConfig>& v = out.emplace_back();
      v.name = fmt::format("{}_{}", dilated ? "dinat" : "nat", name);
      NatConfig& c = v.config;
      c.dim = size.dim;
      c.depths = {3, 4, size.third, 5};
      c.heads = {size.heads, 2 * size.heads, 4 * size.heads, 8 * size.heads};
      c.mlp_ratio = size.mlp_ratio;
      c.layer_scale = dilated ? size.dinat_layer_scale : size.layer_scale;
      c.drop_path = size.drop_path;
      if (dilated) c.dilations = far_and_near(c.depths, {8, 4, 2, 1});
      v.preprocess.crop_pct = 0.875;
      v.note = dilated ? "DiNAT, Hassani and Shi 2022: every second block sees its neighbours with gaps"
                       : "NAT, Hassani et al. 2023: attention to 7 x 7 neighbours, moved inwards at borders";
    }
  // DiNAT-Large tuned on larger pictures: its 7 x 7 reach farther, or there are 11 x 11.
  const Variant<NatConfig> large = out.back();
  for (const std::int64_t kernel : {7, 11}) {
    Variant<NatConfig>& v = out.emplace_back(large);
    v.name = kernel == 7 ? "dinat_large_384" : "dinat_large_384_11x11";
    v.aliases = {kernel == 7 ? "dinat_large_in22k_in1k_384" : "dinat_large_in22k_in1k_384_11x11"};
    NatConfig& c = v.config;
    c.img_size = {384, 384};
    c.kernel = kernel;
    c.dilations = far_and_near(c.depths, kernel == 7 ? Far{13, 6, 3, 1} : Far{8, 4, 2, 1});
    v.preprocess.rows = v.preprocess.columns = 384;
    v.preprocess.crop_pct = 1.0;
    v.note = fmt::format("DiNAT, Hassani and Shi 2022: {0} x {0} neighbours of pictures of 384, with gaps",
                         kernel);
  }
  return out;
}

/// Dilations are a list for each stage.
std::string stage_keys(const std::string& target, const std::string& config) {
  const auto c = read_config<NatConfig>("nat", config);
  std::vector<std::string> stages;
  std::size_t block = 0;
  for (const std::int64_t depth : c.depths) {
    std::vector<std::int64_t> own;
    for (std::int64_t b = 0; b < depth; ++b, ++block)
      own.push_back(c.dilations.empty() ? 1 : c.dilations[block]);
    stages.push_back(fmt::format("[{}]", fmt::join(own, ",")));
  }
  return merge_config(pyramid_widths(target, config),
                      fmt::format(R"({{"dilations":[{}]}})", fmt::join(stages, ",")));
}

std::vector<HubKeys> hub() {
  return {{.model_type = "dinat",
           .keys = {{"num_channels", "in_chans"},
                    {"embed_dim", "dim"},
                    {"depths", "depths"},
                    {"num_heads", "heads"},
                    {"kernel_size", "kernel"},
                    {"dilations", "dilations"},
                    {"mlp_ratio", "mlp_ratio"},
                    {"patch_size", "patch_size"},
                    {"qkv_bias", "qkv_bias"},
                    {"hidden_act", "act"},
                    {"layer_norm_eps", "norm_eps"},
                    {"drop_path_rate", "drop_path"}},
           .defaults = R"({"embed_dim":64,"depths":[3,4,6,5],"num_heads":[2,4,8,16],"kernel_size":7,)"
                       R"("mlp_ratio":3.0,"dilations":[[1,8,1],[1,4,1,4],[1,2,1,2,1,2],[1,1,1,1,1]]})",
           .values = {{"qkv_bias", "true", R"("full")"}, {"qkv_bias", "false", R"("none")"}},
           .inert = {"hidden_size", "num_layers", "layer_scale_init_value"},
           .written = {.name = "Dinat",
                       .constants = R"({"hidden_dropout_prob":0.0,"attention_probs_dropout_prob":0.0,)"
                                    R"("initializer_range":0.02,"layer_scale_init_value":0.0})",
                       .untold = {"img_size"},
                       .more = stage_keys}}};
}

std::vector<Renames> renames() {
  Renames official;
  official.naming = "SHI-Labs/Neighborhood-Attention-Transformer";
  Renames transformers;
  transformers.naming = "transformers";
  transformers.prefix = "dinat.";
  transformers.of = {"!layer_scale"};  // one tensor of both there
  transformers.rules = {
      {"patch_embed.proj", "embeddings.patch_embeddings.projection"},
      {"patch_embed.norm", "embeddings.norm"},
      {"patch_embed", "embeddings", true},
      {"levels.{l}.blocks.{b}.norm1", "encoder.levels.{l}.layers.{b}.layernorm_before"},
      {"levels.{l}.blocks.{b}.norm2", "encoder.levels.{l}.layers.{b}.layernorm_after"},
      {"levels.{l}.blocks.{b}.attn.rpb", "encoder.levels.{l}.layers.{b}.attention.self.rpb"},
      {"levels.{l}.blocks.{b}.attn.qkv",
       {"encoder.levels.{l}.layers.{b}.attention.self.query",
        "encoder.levels.{l}.layers.{b}.attention.self.key",
        "encoder.levels.{l}.layers.{b}.attention.self.value"}},
      {"levels.{l}.blocks.{b}.attn.proj", "encoder.levels.{l}.layers.{b}.attention.output.dense"},
      {"levels.{l}.blocks.{b}.attn", "encoder.levels.{l}.layers.{b}.attention", true},
      {"levels.{l}.blocks.{b}.mlp.fc1", "encoder.levels.{l}.layers.{b}.intermediate.dense"},
      {"levels.{l}.blocks.{b}.mlp.fc2", "encoder.levels.{l}.layers.{b}.output.dense"},
      {"levels.{l}.blocks.{b}", "encoder.levels.{l}.layers.{b}"},
      {"levels.{l}", "encoder.levels.{l}"},
      {"norm", "layernorm"},
      {"head", "classifier"}};
  return {official, transformers};
}

}  // namespace
}  // namespace nat_model

const Family kNat =
    family<nat_model::Nat, nat_model::variants, nat_model::renames, nat_model::from_shapes, nat_model::hub>(
        "nat");

}  // namespace locant
