// Twins: Chu et al. 2021, "Twins: Revisiting the Design of Spatial Attention in Vision Transformers", figures
// 1 (PCPVT: PVT's blocks, and a position encoding generator behind the first of each stage) and 2 (SVT: local
// and global attention by turns). CPVTv2 of the same repository is PCPVT. Names: Meituan-AutoML/Twins; timm's
// are the same. vit-pytorch has SVT in a form of its own: pairs of a local and a global block, no norm of
// reduced keys and none at the end; everything is a convolution there, which here works on tokens.
#include <cmath>
#include <functional>
#include <memory>

#include "models/family.h"
#include "models/pvt_pyramid.h"
#include "nn/conv_layers.h"
#include "nn/locally_grouped_attention.h"
#include "nn/peg.h"
#include "nn/windows.h"
#include "ops/attention/attention.h"
#include "ops/layout.h"
#include "ops/norm.h"
#include "ops/rearrange.h"

namespace locant {
namespace twins_model {
namespace {

struct TwinsConfig : PvtStages {
  /// local_global: even blocks local, odd ones global. local_global_pairs: vit-pytorch's, `depths` pairs
  /// behind a first one. global: PCPVT.
  enum class Pattern { local_global, local_global_pairs, global };
  Pattern pattern = Pattern::global;
  std::vector<std::int64_t> windows = {};  // of local attention, by stage; 0, or 1 but in pairs: none
  std::int64_t head_dim = 0;               // of pairs
  std::int64_t peg_kernel = 3;

  bool pairs() const { return pattern == Pattern::local_global_pairs; }
  std::int64_t peg_after() const { return pairs() ? 1 : 0; }
};

struct PcpvtConfig : TwinsConfig {};

struct SvtConfig : TwinsConfig {
  SvtConfig() {
    pattern = Pattern::local_global;
    windows = {7, 7, 7, 7};
    dims = {64, 128, 256, 512};
    depths = {2, 2, 10, 4};
    heads = {2, 4, 8, 16};
    mlp_ratios = {4, 4, 4, 4};
  }
};

template <class Archive, class Config>
void twins_fields(Archive& a, Config& c) {
  pvt_stage_fields(a, c);
  a.field("peg_kernel", c.peg_kernel, range(1, 63));
  a.only("peg_after_block", std::int64_t{0});
  a.only("pool", "mean");
}

template <class Archive, ConfigIs<PcpvtConfig> Config>
void fields(Archive& a, Config& c) {
  twins_fields(a, c);
}

template <class Archive, ConfigIs<SvtConfig> Config>
void fields(Archive& a, Config& c) {
  twins_fields(a, c);
  a.choice("pattern", c.pattern, {"local_global", "local_global_pairs"});
  a.field("windows", c.windows, range(0, 1024));
  a.field("head_dim", c.head_dim);
  a.only("norm", c.pairs() ? "channel" : "layer");
  a.only("patch_embed", c.pairs() ? "norm_linear_norm" : "conv_norm");
  a.only("patch_order", "channel_row_column");
}

void check(const std::string& op, const TwinsConfig& c) {
  check_pvt_stages(op, c);
  if (c.pattern != TwinsConfig::Pattern::global)
    same_length(op, {{"depths", c.stages()}, {"windows", c.windows.size()}});
  require(c.peg_kernel % 2 == 1, op, "peg_kernel {}; it must be odd", c.peg_kernel);
  require((c.head_dim > 0) == c.pairs(), op, "head_dim {}; of pattern local_global_pairs, and of no other",
          c.head_dim);
  require(!c.pairs() || !c.qkv_bias, op,
          "pattern local_global_pairs has no bias of q, k and v: qkv_bias none is needed");
}

/// A block of a stage: its number among the names, and what it attends to. Where a stage of pairs has no
/// local attention the even numbers are left out.
struct Place {
  std::int64_t index;
  bool local;
};

std::vector<Place> places(const TwinsConfig& c, std::size_t stage) {
  std::vector<Place> out;
  if (c.pairs())
    for (std::int64_t pair = 0; pair <= c.depths[stage]; ++pair) {
      if (c.windows[stage] > 0) out.push_back({2 * pair, true});
      out.push_back({2 * pair + 1, false});
    }
  else
    for (std::int64_t b = 0; b < c.depths[stage]; ++b)
      out.push_back(
          {b, c.pattern == TwinsConfig::Pattern::local_global && b % 2 == 0 && c.windows[stage] > 1});
  return out;
}

/// Twins: normal of variance 2 / fan_out.
Init conv_start(std::int64_t kernel, std::int64_t out_of_group) {
  return fan_out_init(kernel * kernel * out_of_group);
}

/// vit-pytorch's convolution by 1 x 1, on tokens.
Linear pointwise(const Weights& w, std::int64_t in, std::int64_t out, bool bias = true) {
  return {w,
          in,
          out,
          {.bias = bias,
           .weight_init = Init::fan_in(in),
           .bias_init = Init::fan_in(in),
           .weight_shape = {out, in, 1, 1}}};
}

/// vit-pytorch's norm over the channels of pictures, on tokens: `weight`, `bias` (1, C, 1, 1).
class ChannelNorm {
 public:
  ChannelNorm() = default;
  ChannelNorm(const Weights& w, std::int64_t width, float eps)
      : weight_(w.get("weight", {1, width, 1, 1}, Init::ones(), {.decay = false})),
        bias_(w.get("bias", {1, width, 1, 1}, Init::zeros(), {.decay = false})),
        eps_(eps) {}
  Var operator()(const Context& ctx, const Var& x) const {
    const std::int64_t C = weight_.dim(1);
    return layer_norm(ctx, x, reshape(ctx, weight_, {C}), reshape(ctx, bias_, {C}), eps_);
  }

 private:
  Var weight_, bias_;
  float eps_ = 1e-5f;
};

class PointwiseMlp {
 public:
  PointwiseMlp(const Weights& w, std::int64_t width, std::int64_t hidden)
      : fc1_(pointwise(w / "fc1", width, hidden)), fc2_(pointwise(w / "fc2", hidden, width)) {}
  Var operator()(const Context& ctx, const Var& x, const Var& skip) const {
    return fc2_(ctx, fc1_(ctx, x, Activation::gelu), Activation::none, skip);
  }

 private:
  Linear fc1_, fc2_;
};

/// vit-pytorch's, local or global: `q`, `kv` (rows k, then v; global: a convolution of kernel and stride
/// ratio), `proj`. Heads of head_dim channels whatever the width is.
class PairAttention {
 public:
  PairAttention(const Weights& w, const TwinsConfig& c, std::size_t stage, bool local)
      : heads_(c.heads[stage]),
        inner_(heads_ * c.head_dim),
        window_(local ? c.windows[stage] : 0),
        q_(pointwise(w / "q", c.dims[stage], inner_, false)),
        proj_(pointwise(w / "proj", inner_, c.dims[stage])),
        maps_(std::make_shared<WindowMaps>()) {
    const std::int64_t R = c.sr_ratios[stage];
    if (local || R == 1)
      kv_ = pointwise(w / "kv", c.dims[stage], 2 * inner_, false);
    else
      reduced_kv_ = Conv2d(w / "kv", c.dims[stage], 2 * inner_, Conv2d::square(R, R, 0, 1, false));
  }
  /// x (B, h w, C) -> the same, plus skip where that is defined. A grid that windows do not divide is padded
  /// with zeros.
  Var operator()(const Context& ctx, const Var& x, Grid grid, const Var& skip) const {
    AttentionOptions options;
    options.heads = heads_;
    if (window_ > 0) {
      const WindowLayout layout{.rows = grid.rows, .columns = grid.columns, .window = {window_, window_}};
      options.rows = maps_->rows(layout);
      options.zero_pad = layout.pads();
    }
    const Var kv = kv_.defined() ? kv_(ctx, x)
                                 : on_grid(ctx, "twins_svt", x, grid, 0,
                                           [&](const Var& images) { return reduced_kv_(ctx, images); });
    const Var attended = attention(ctx, q_(ctx, x), slice_axis(ctx, kv, 2, 0, inner_),
                                   slice_axis(ctx, kv, 2, inner_, 2 * inner_), options);
    return proj_(ctx, attended, Activation::none, skip);
  }

 private:
  std::int64_t heads_, inner_, window_;
  Linear q_, kv_;  // kv_ or reduced_kv_
  Conv2d reduced_kv_;
  Linear proj_;
  std::shared_ptr<const WindowMaps> maps_;
};

/// images (B, C, H, W) -> (B, N, width): `proj`, `norm`. In the form of vit-pytorch the pixels of a patch are
/// normed first, `pixel_norm`.
class StageEmbed {
 public:
  StageEmbed(const Weights& w, const TwinsConfig& c, std::size_t stage) : patch_(c.patch_sizes[stage]) {
    const std::int64_t C = c.dims[stage], from = c.chans(stage), pixels = from * patch_ * patch_;
    if (c.pairs()) {
      pixel_norm_ = ChannelNorm(w / "pixel_norm", pixels, c.patch_norm_eps);
      proj_ = pointwise(w / "proj", pixels, C);
      channel_norm_ = ChannelNorm(w / "norm", C, c.patch_norm_eps);
      normed_ = true;
      return;
    }
    proj_ = Linear(w / "proj", pixels, C,
                   {.weight_init = conv_start(patch_, C), .weight_shape = {C, from, patch_, patch_}});
    norm_ = LayerNorm(w / "norm", C, c.patch_norm_eps);
  }
  Var operator()(const Context& ctx, const Var& images) const {
    const Var x = patchify(ctx, images, patch_, patch_, PatchOrder::channel_row_column);
    return normed_ ? channel_norm_(ctx, proj_(ctx, pixel_norm_(ctx, x))) : norm_(ctx, proj_(ctx, x));
  }

 private:
  std::int64_t patch_;
  bool normed_ = false;
  Linear proj_;
  LayerNorm norm_;
  ChannelNorm pixel_norm_, channel_norm_;
};

using Block = std::function<Var(const Context&, const Var&, Grid)>;

Block make_block(const Weights& w, const TwinsConfig& c, std::size_t stage, bool local, float drop_path) {
  const std::int64_t C = c.dims[stage];
  if (c.pairs())
    return PvtBlock<PairAttention, ChannelNorm, PointwiseMlp>(
        ChannelNorm(w / "norm1", C, c.norm_eps), PairAttention(w / "attn", c, stage, local),
        ChannelNorm(w / "norm2", C, c.norm_eps), PointwiseMlp(w / "mlp", C, c.hidden(stage)), drop_path);
  if (local)
    return PvtBlock<LocallyGroupedAttention>(
        w, c, stage,
        LocallyGroupedAttention(w / "attn", {.width = C,
                                             .heads = c.heads[stage],
                                             .window = {c.windows[stage], c.windows[stage]},
                                             .qkv_bias = c.qkv_bias}),
        drop_path);
  SpatialReductionAttention::Options options = c.attention(stage);
  options.sr_init = conv_start(options.ratio, C);
  return PvtBlock<SpatialReductionAttention>(w, c, stage, SpatialReductionAttention(w / "attn", options),
                                             drop_path);
}

template <class C>
class Twins final : public ImageModelOf<C> {
 public:
  Twins(const Family& family, C config, const Weights& w);
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, mean_pool(ctx, encode(ctx, images).back().tokens));
  }
  Features features(const Context& ctx, const Var& images) const override {
    Features out{.levels = encode(ctx, images)};
    out.cls = mean_pool(ctx, out.levels.back().tokens);
    return out;
  }

 private:
  using Level = Features::Level;
  using ModelOf<C>::c;
  struct Stage {
    StageEmbed embed;
    std::vector<std::pair<std::int64_t, Block>> blocks;  // by their numbers among the names
    Peg peg;
  };
  /// Tokens of each stage, finest first; those of the last normed, but in pairs.
  std::vector<Level> encode(const Context& ctx, const Var& images) const;
  Var run_stage(const Context& ctx, std::size_t s, Var x, Grid grid) const;

  std::vector<Stage> stages_;
  LayerNorm norm_;  // of the last stage
  Head head_;
};

template <class C>
Twins<C>::Twins(const Family& family, C config, const Weights& w)
    : ImageModelOf<C>(family, std::move(config)) {
  const TwinsConfig& c = this->c();
  std::int64_t total = 0;
  for (std::size_t s = 0; s < c.stages(); ++s) total += static_cast<std::int64_t>(places(c, s).size());
  const std::vector<float> rates = drop_rates(total, c.drop_path);
  auto drop_path = rates.begin();
  for (std::size_t s = 0; s < c.stages(); ++s) {
    const auto at = static_cast<std::int64_t>(s);
    const std::int64_t width = c.dims[s], k = c.peg_kernel;
    Stage& stage = stages_.emplace_back(Stage{StageEmbed(w / "patch_embeds" / at, c, s), {}, {}});
    for (const Place& place : places(c, s))
      stage.blocks.emplace_back(place.index,
                                make_block(w / "blocks" / at / place.index, c, s, place.local, *drop_path++));
    const Init conv = c.pairs() ? Init::fan_in(k * k) : conv_start(k, 1);
    stage.peg = make_peg(w / "pos_block" / at / "proj" / 0, {.width = width, .kernel = k}, conv,
                         c.pairs() ? conv : Init::zeros(), {.decay = false});
  }
  if (!c.pairs()) norm_ = LayerNorm(w / "norm", c.dims.back(), c.norm_eps);
  head_ = Head(w / "head", c.dims.back(), c.num_classes);
}

template <class C>
std::vector<Features::Level> Twins<C>::encode(const Context& ctx, const Var& images) const {
  const std::vector<Grid> grids = c().grids(this->op(), images);
  std::vector<Level> out;
  Var x = images;
  std::int64_t stride = 1;
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    if (s > 0) x = tokens_to_images(ctx, x, grids[s - 1].rows, grids[s - 1].columns);
    x = ctx.shown("patch_embeds", static_cast<std::int64_t>(s), stages_[s].embed(ctx, x));
    x = run_stage(ctx, s, x, grids[s]);
    stride *= c().patch_sizes[s];
    out.push_back({x, grids[s], stride});
  }
  if (!c().pairs()) out.back().tokens = ctx.shown("norm", norm_(ctx, x));
  return out;
}

template <class C>
Var Twins<C>::run_stage(const Context& ctx, std::size_t s, Var x, Grid grid) const {
  for (const auto& [index, block] : stages_[s].blocks) {
    x = block(ctx, x, grid);
    ctx.show([&, at = index] { return fmt::format("blocks.{}.{}", s, at); }, x);
    if (index == c().peg_after())
      x = ctx.shown("pos_block", static_cast<std::int64_t>(s), peg(ctx, stages_[s].peg, x, grid));
  }
  if (ctx.probe != nullptr)
    ctx.show([&] { return fmt::format("stages.{}", s); }, tokens_to_images({}, x, grid.rows, grid.columns));
  return x;
}

const auto kEmbed = [](std::size_t stage) { return fmt::format("patch_embeds.{}", stage); };
const auto kBlocks = [](std::size_t stage) { return fmt::format("blocks.{}", stage); };
constexpr const char *kPixelNorm = "patch_embeds.0.pixel_norm.weight", *kLocal = "blocks.0.0.attn.qkv.weight";

void pcpvt_from_shapes(const NamedShapes& s, PcpvtConfig& c) {
  c.PvtStages::from_shapes(s, kEmbed, kBlocks, 0);
  require(!s.has(kLocal) && !s.has(kPixelNorm), "twins_pcpvt", "local attention: twins_svt has it");
  c.assume_heads("twins_pcpvt", s, 64);
  c.peg_kernel = s.dim("pos_block.0.proj.0.weight", 2);
  s.assume("img_size", c.img_size);
  s.assume("norm_eps", c.norm_eps);
}

/// Windows of 7 where nobody tells, in the stages that have local attention.
void assume_windows(const NamedShapes& s, SvtConfig& c, const char* local) {
  std::vector<std::int64_t> usual;
  bool possible = c.windows.size() == c.stages();
  for (std::size_t stage = 0; stage < c.stages(); ++stage) {
    const bool has = s.has(kBlocks(stage) + local);
    usual.push_back(has ? 7 : 0);
    possible = possible && has == (c.windows[stage] > (c.pairs() ? 0 : 1));
  }
  s.assume("windows", c.windows, usual, possible);
}

/// vit-pytorch's form: patches are rows of pixels, and a stage has a pair before its `depths`.
void pairs_from_shapes(const NamedShapes& s, SvtConfig& c) {
  c.pattern = TwinsConfig::Pattern::local_global_pairs;
  c.qkv_bias = false;
  const std::vector<double> known = c.mlp_ratios;
  c.patch_sizes = c.dims = c.depths = c.sr_ratios = c.heads = {};
  c.mlp_ratios = {};
  s.assume("in_chans", c.in_chans);
  s.assume("head_dim", c.head_dim, std::int64_t{64}, c.head_dim > 0);
  for (std::size_t stage = 0; stage < c.kMostStages && s.has(kEmbed(stage) + ".proj.weight"); ++stage) {
    const std::int64_t pixels = s.dim(kEmbed(stage) + ".proj.weight", 1), from = c.chans(stage);
    const Pair side = NamedShapes::square(pixels / std::max<std::int64_t>(from, 1));
    require(side.rows > 0 && side.rows * side.columns * from == pixels, "twins_svt",
            "stage {}: {} numbers are no square patch of {} channels, so that in_chans must be told",
            stage + 1, pixels, from);
    const auto block = [&](std::int64_t pair, const char* what) {
      return fmt::format("{}.{}.{}", kBlocks(stage), 2 * pair + 1, what);
    };
    std::int64_t pairs = 0;
    while (s.has(block(pairs, "norm1.weight"))) ++pairs;
    const Shape kv = s.at(block(0, "attn.kv.weight"));
    c.patch_sizes.push_back(side.rows);
    c.dims.push_back(s.dim(kEmbed(stage) + ".proj.weight", 0));
    c.depths.push_back(pairs - 1);
    c.sr_ratios.push_back(kv.rank() == 4 ? kv[2] : 1);
    c.heads.push_back(s.dim(block(0, "attn.q.weight"), 0) / c.head_dim);
    double ratio = stage < known.size() ? known[stage] : 4.0;
    s.ratio(block(0, "mlp.fc1.weight"), ratio);
    c.mlp_ratios.push_back(ratio);
  }
  c.num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
  assume_windows(s, c, ".0.attn.q.weight");
}

void svt_from_shapes(const NamedShapes& s, SvtConfig& c) {
  s.dim(kEmbed(0) + ".proj.weight", 0);
  if (s.has(kPixelNorm)) {
    pairs_from_shapes(s, c);
  } else {
    s.dim(kLocal, 0);
    c.pattern = TwinsConfig::Pattern::local_global;
    c.head_dim = 0;
    c.PvtStages::from_shapes(s, kEmbed, kBlocks, 1);
    c.assume_heads("twins_svt", s, 32);
    assume_windows(s, c, ".0.attn.qkv.weight");
  }
  c.peg_kernel = s.dim("pos_block.0.proj.0.weight", 2);
  s.assume("img_size", c.img_size);
  s.assume("norm_eps", c.norm_eps);
}

/// Drop path as in the paper's section 4.1, by size.
constexpr std::pair<const char*, double> kSizes[] = {{"small", 0.2}, {"base", 0.3}, {"large", 0.5}};

std::vector<Variant<PcpvtConfig>> pcpvt_variants() {
  std::vector<Variant<PcpvtConfig>> out;
  for (const auto& [name, drop_path] : kSizes) {
    Variant<PcpvtConfig>& v = out.emplace_back();
    const std::string size = name;
    v.name = "twins_pcpvt_" + size;
    if (size == "base") v.config.depths = {3, 4, 18, 3};
    if (size == "large") v.config.depths = {3, 8, 27, 3};
    v.config.drop_path = drop_path;
    v.note = "Twins-PCPVT (CPVTv2), Chu et al. 2021: PVT with conditional position encodings";
    v.aliases = {"pcpvt_" + size, "pcpvt_" + size + "_v0"};
  }
  return out;
}

std::vector<Variant<SvtConfig>> svt_variants() {
  std::vector<Variant<SvtConfig>> out;
  for (const auto& [name, drop_path] : kSizes) {
    Variant<SvtConfig>& v = out.emplace_back();
    const std::string size = name;
    v.name = "twins_svt_" + size;
    if (size != "small") {
      const std::int64_t dim = size == "base" ? 96 : 128;
      v.config.dims = {dim, 2 * dim, 4 * dim, 8 * dim};
      v.config.heads = {dim / 32, dim / 16, dim / 8, dim / 4};
      v.config.depths = {2, 2, 18, 2};
    }
    v.config.drop_path = drop_path;
    v.note = "Twins-SVT, Chu et al. 2021: windows and sub-sampled keys by turns";
    v.aliases = {"alt_gvt_" + size};
  }
  return out;
}

std::vector<Renames> pcpvt_renames() {
  std::vector<Renames> out = same_names({"Meituan-AutoML/Twins", "timm"});
  out[0].preprocess = {{"", R"({"crop_pct":0.875})"}};
  return out;
}

Renames vit_pytorch_names() {
  Renames out;
  out.naming = "vit-pytorch";
  const auto rule = [&](const std::string& ours, const std::string& theirs) {
    out.rules.emplace_back(ours.c_str(), theirs.c_str());
  };
  const auto norm = [&](const std::string& ours, const std::string& theirs) {
    rule(ours + ".weight", theirs + ".g");
    rule(ours + ".bias", theirs + ".b");
  };
  norm("patch_embeds.{s}.pixel_norm", "layers.{s}.0.proj.0");
  rule("patch_embeds.{s}.proj", "layers.{s}.0.proj.1");
  norm("patch_embeds.{s}.norm", "layers.{s}.0.proj.2");
  // The first pair, and those behind the position encoding: attention and MLP, local, then global.
  for (const bool first : {true, false})
    for (const int half : {0, 1}) {
      const std::string ours =
          first ? fmt::format("blocks.{{s}}.{}", half) : fmt::format("blocks.{{s}}.{{2b+{}}}", 2 + half);
      const std::string pair = first ? "layers.{s}.1.layers.0." : "layers.{s}.3.layers.{b}.";
      const std::string attention = fmt::format("{}{}.fn", pair, 2 * half),
                        mlp = fmt::format("{}{}.fn.net", pair, 2 * half + 1);
      norm(ours + ".norm1", attention + ".norm");
      rule(ours + ".attn.q", attention + ".to_q");
      rule(ours + ".attn.kv", attention + ".to_kv");
      rule(ours + ".attn.proj", attention + ".to_out.0");
      norm(ours + ".norm2", mlp + ".0");
      rule(ours + ".mlp.fc1", mlp + ".1");
      rule(ours + ".mlp.fc2", mlp + ".4");
    }
  rule("pos_block.{s}.proj.0", "layers.{s}.2.proj.fn");
  rule("head", "layers.6");  // behind four stages, the mean and its reshape
  out.rules.emplace_back("stages.{s}", "layers.{s}", true);
  out.overrides = {{"", R"({"norm_eps":1e-5})"}};
  return out;
}

std::vector<Renames> svt_renames() {
  std::vector<Renames> out = pcpvt_renames();
  out.push_back(vit_pytorch_names());
  return out;
}

}  // namespace
}  // namespace twins_model

const Family kTwinsPcpvt = family<twins_model::Twins<twins_model::PcpvtConfig>, twins_model::pcpvt_variants,
                                  twins_model::pcpvt_renames, twins_model::pcpvt_from_shapes>("twins_pcpvt");
const Family kTwinsSvt = family<twins_model::Twins<twins_model::SvtConfig>, twins_model::svt_variants,
                                twins_model::svt_renames, twins_model::svt_from_shapes>("twins_svt");

}  // namespace locant
