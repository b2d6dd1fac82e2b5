#pragma once

// The whole that Swin Transformers of clips share (Liu et al. 2022, "Video Swin Transformer", figure 1):
// patches of time and space, Swin's stages over frames, which no merging joins, the mean of what the last
// gives, I3D's head. Blocks are each family's own. Stage paths are those of
// SwinTransformer/Video-Swin-Transformer.
#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "models/swin_pyramid.h"
#include "nn/layers.h"
#include "nn/windows.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {

struct ClipSwinConfig : SwinStages {
  enum class Pool { mean, none };
  Grid img_size = {32, 224, 224};  // clips of the training
  Grid patch_size = {2, 4, 4};
  std::int64_t in_chans = 3, num_classes = 400;
  bool patch_norm = true;
  double mlp_ratio = 4.0;
  float norm_eps = 1e-5f;
  Pool pool = Pool::mean;  // none: the grid itself, as the official backbones give it
  double dropout = 0.0;    // of the pooled clip, before the head
  double drop_path = 0.0;  // of the last block; rises linearly from 0

  float grid_eps() const { return norm_eps; }
  /// All but the window.
  void from_shapes(const NamedShapes& s, const std::string& per_head) {
    const std::string projection = "patch_embed.proj.weight";
    in_chans = s.dim(projection, 1);
    patch_size = {s.dim(projection, 2), s.dim(projection, 3), s.dim(projection, 4)};
    num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
    dim = s.dim(projection, 0);
    SwinStages::from_shapes(s, per_head, 1);
    patch_norm = s.has("patch_embed.norm.weight");
    s.ratio("layers.0.blocks.0.mlp.fc1.weight", mlp_ratio);
    s.assume("norm_eps", norm_eps);
  }
};

/// In JSON a list of frames, rows and columns.
template <class Archive, class Sides>
void sides_field(Archive& a, const char* key, Sides& sides, const FieldRange& rule) {
  std::vector<std::int64_t> list = {sides.frames, sides.rows, sides.columns};
  a.field(key, list, rule);
  if constexpr (!std::is_const_v<Sides>) {
    require(list.size() == 3, "clips", "{} has {} sides; frames, rows and columns were expected", key,
            list.size());
    sides = {list[0], list[1], list[2]};
  }
}

template <class Archive, class Config>
void clip_fields(Archive& a, Config& c) {
  sides_field(a, "img_size", c.img_size, at_least(1));
  sides_field(a, "patch_size", c.patch_size, range(1, 256));
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("num_classes", c.num_classes);
  stage_fields(a, c);
  a.field("patch_norm", c.patch_norm);
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("norm_eps", c.norm_eps);
  a.choice("pool", c.pool, {"mean", "none"});
  a.field("dropout", c.dropout, rate());
  a.field("drop_path", c.drop_path, rate());
  a.only("patch_remainder", "pad");
  a.only("absolute_pos", false);
  a.only("act", "gelu");
  a.only("block_norm", "pre");
  a.only("merge_norm", "before");
}

inline void check_clips(const std::string& op, const ClipSwinConfig& c) {
  check_stages(op, c);
  require(c.pool == ClipSwinConfig::Pool::mean || c.num_classes == 0, op,
          "{} classes, but pool none gives no vector for a head; pool mean or num_classes 0 is needed",
          c.num_classes);
}

/// Convolution over time and space whose stride is its kernel, as a product: clips (B, C, F, H, W) -> (B, N,
/// dim). `weight` (dim, C, frames, rows, columns), `bias` (dim). Clips that are no multiple of the patch get
/// zeros at their ends.
class ClipEmbed {
 public:
  ClipEmbed() = default;
  ClipEmbed(const Weights& w, const ClipSwinConfig& c) : patch_(c.patch_size) {
    const std::int64_t in = c.in_chans * patch_.tokens();
    projection_ = Linear(w, in, c.dim,
                         {.weight_init = Init::fan_in(in),
                          .bias_init = Init::fan_in(in),
                          .weight_shape = {c.dim, c.in_chans, patch_.frames, patch_.rows, patch_.columns}});
  }
  /// Patches of clips (B, C, F, H, W).
  Grid grid(const Shape& clips) const {
    const auto patches = [](std::int64_t side, std::int64_t patch) { return (side + patch - 1) / patch; };
    return {patches(clips[2], patch_.frames), patches(clips[3], patch_.rows),
            patches(clips[4], patch_.columns)};
  }
  Var operator()(const Context& ctx, const Var& clips) const {
    const Shape shape = clips.shape();
    const std::int64_t B = shape[0], C = shape[1], H = shape[3], W = shape[4];
    const Grid grid = this->grid(shape);
    const std::int64_t missing = grid.frames * patch_.frames - shape[2];
    Var x = clips;
    if (missing > 0) x = concat_axis(ctx, {x, Var(Tensor::zeros({B, C, missing, H, W}))}, 2);
    // The frames of a patch as channels of a picture, in the order of the weight: (channel, frame).
    x = reshape(ctx, x, {B, C, grid.frames, patch_.frames, H * W});
    x = reshape(ctx, permute(ctx, x, {0, 2, 1, 3, 4}), {B * grid.frames, C * patch_.frames, H, W});
    x = pad_to_patches(ctx, x, patch_.rows, patch_.columns);
    x = projection_(ctx, patchify(ctx, x, patch_.rows, patch_.columns, PatchOrder::channel_row_column));
    return reshape(ctx, x, {B, grid.tokens(), x.dim(2)});
  }

 private:
  Grid patch_;
  Linear projection_;
};

/// (B, C, F, H, W) of a level's tokens.
inline Var channels_first(const Context& ctx, const Features::Level& x) {
  const Grid g = x.grid;
  const Var grid = reshape(ctx, x.tokens, {x.tokens.dim(0), g.frames, g.rows, g.columns, x.tokens.dim(2)});
  return permute(ctx, grid, {0, 4, 1, 2, 3});
}
inline void show_channels_first(const Context& ctx, const std::string& path, const Features::Level& x) {
  if (ctx.probe != nullptr) ctx.show([&] { return path; }, channels_first({}, x));
}

/// Normed patches of clips: `proj`, `norm`.
class ClipStem {
 public:
  ClipStem() = default;
  ClipStem(const Weights& w, const ClipSwinConfig& c) : embed_(w / "proj", c), stride_(c.patch_size.rows) {
    if (c.patch_norm) norm_ = LayerNorm(w / "norm", c.dim, c.grid_eps());
    normed_ = c.patch_norm;
  }
  Features::Level operator()(const Context& ctx, const Var& clips) const {
    Features::Level x{embed_(ctx, clips), embed_.grid(clips.shape()), stride_};
    if (normed_) x.tokens = ctx.shown("patch_embed.norm", norm_(ctx, x.tokens));
    show_channels_first(ctx, "patch_embed", x);
    return x;
  }

 private:
  ClipEmbed embed_;
  std::int64_t stride_ = 0;
  LayerNorm norm_;
  bool normed_ = false;
};

/// C: a ClipSwinConfig. Position(w, c), called with (ctx, tokens, grid) behind the patches. Block(w, c,
/// stage, index, drop path, maps), called with (ctx, x (B, frames * rows * columns, C), grid).
/// Clips (B, C, F, H, W), normalised as the checkpoint wants them.
template <class C, class Position, class Block>
class ClipSwin final : public ModelOf<C> {
 public:
  ClipSwin(const Family& family, C config, const Weights& w);
  std::vector<Port> inputs() const override { return {{"clips", "B C F H W", "normalised frames"}}; }
  std::vector<Port> outputs() const override {
    if (c().pool == C::Pool::none) return {{"output", "B C F H W", "normed tokens of the last stage"}};
    return {{"output", "B C", "logits, or their mean"}};
  }
  /// Of clips. A level's grid has frames: tokens are (B, frames * rows * columns, C), frames slowest.
  Features features(const Context& ctx, const Var& clips) const override {
    Features out;
    out.cls = mean_pool(ctx, encode(ctx, clips, &out.levels).tokens);
    return out;
  }

 protected:
  Values compute(const Context& ctx, const Values& in) const override {
    const Level x = encode(ctx, in.at("clips"), nullptr);
    if (c().pool == C::Pool::none) return {{"output", channels_first(ctx, x)}};
    Var y = dropout(ctx, mean_pool(ctx, x.tokens), static_cast<float>(c().dropout));
    if (head_.defined()) y = ctx.shown("head", head_(ctx, y));
    return {{"output", y}};
  }

 private:
  using Level = Features::Level;
  using ModelOf<C>::c;
  using Model::op;
  /// Normed tokens of the last stage. `levels`, when given, gets every stage's, these as the last.
  Level encode(const Context& ctx, const Var& clips, std::vector<Level>* levels) const;
  void run_blocks(const Context& ctx, std::size_t stage, Level& x) const;

  ClipStem patch_embed_;
  Position position_;
  LayerNorm norm_;
  std::vector<std::vector<Block>> stages_;
  std::vector<SwinMerging> mergings_;  // none after the last stage
  Linear head_;
};

template <class C, class Position, class Block>
ClipSwin<C, Position, Block>::ClipSwin(const Family& family, C config, const Weights& w)
    : ModelOf<C>(family, std::move(config)), patch_embed_(w / "patch_embed", c()), position_(w, c()) {
  const C& c = this->c();
  const std::vector<float> rates = drop_rates(std::reduce(c.depths.begin(), c.depths.end()), c.drop_path);
  auto drop_path = rates.begin();
  const auto maps = std::make_shared<const WindowMaps>();
  for (std::size_t s = 0; s < c.stages(); ++s) {
    const Weights at = w / "layers" / static_cast<std::int64_t>(s);
    stages_.emplace_back();
    for (std::int64_t b = 0; b < c.depths[s]; ++b)
      stages_[s].emplace_back(at / "blocks" / b, c, s, b, *drop_path++, maps);
    if (s + 1 < c.stages()) mergings_.emplace_back(at / "downsample", c, s);
  }
  norm_ = LayerNorm(w / "norm", c.width(c.stages() - 1), c.norm_eps);
  if (c.num_classes > 0)
    head_ = Linear(w / "head", c.width(c.stages() - 1), c.num_classes, {.weight_init = Init::normal(0.01f)});
}

template <class C, class Position, class Block>
Features::Level ClipSwin<C, Position, Block>::encode(const Context& ctx, const Var& clips,
                                                     std::vector<Level>* levels) const {
  const Shape& shape = clips.shape();
  require(shape.rank() == 5 && shape.numel() > 0 && shape[1] == c().in_chans, op(),
          "clips of shape {}; (B, {}, frames, H, W) was expected", shape.str(), c().in_chans);
  Level x = patch_embed_(ctx, clips);
  x.tokens = position_(ctx, x.tokens, x.grid);
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    run_blocks(ctx, s, x);
    if (s < mergings_.size()) {
      if (levels != nullptr) levels->push_back(x);
      x.tokens = mergings_[s](ctx, merge_neighbours(ctx, x.tokens, x.grid));
      x.stride *= 2;
      ctx.show([=] { return fmt::format("layers.{}.downsample", s); }, x.tokens);
    }
    show_channels_first(ctx, fmt::format("layers.{}", s), x);
  }
  x.tokens = ctx.shown("norm", norm_(ctx, x.tokens));
  if (levels != nullptr) levels->push_back(x);
  return x;
}

template <class C, class Position, class Block>
void ClipSwin<C, Position, Block>::run_blocks(const Context& ctx, std::size_t stage, Level& x) const {
  for (std::size_t b = 0; b < stages_[stage].size(); ++b) {
    x.tokens = stages_[stage][b](ctx, x.tokens, x.grid);
    ctx.show([=] { return fmt::format("layers.{}.blocks.{}", stage, b); }, x.tokens);
  }
  ctx.show([=] { return fmt::format("layers.{}.blocks", stage); }, x.tokens);
}

}  // namespace locant
