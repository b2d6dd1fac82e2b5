#pragma once

// The whole that the Swin Transformers share (Liu et al. 2021, figure 3 a): patches, stages of blocks in
// plain and shifted windows, merging of 2 x 2 neighbours between them, the mean of what the last gives.
// Blocks and merging are each family's own. Stage paths are those of microsoft/Swin-Transformer.
#include <fmt/format.h>

#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "autograd/checkpoint.h"
#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/layers.h"
#include "nn/windows.h"
#include "ops/layout.h"

namespace locant {

/// Stages of blocks, of which each has half the grid and twice the width of the one before.
struct SwinStages {
  static constexpr std::size_t kMostStages = 8;
  std::int64_t dim = 96;  // of stage 0
  std::vector<std::int64_t> depths = {2, 2, 6, 2}, heads = {3, 6, 12, 24};

  std::size_t stages() const { return depths.size(); }
  std::int64_t width(std::size_t stage) const { return dim << stage; }
  /// Depths by the blocks' names, heads by the axis of an attention tensor that has one entry each.
  void from_shapes(const NamedShapes& s, const std::string& per_head, int axis) {
    depths = heads = {};
    const auto tensor = [&] { return fmt::format("layers.{}.blocks.0.attn.{}", stages(), per_head); };
    do {
      heads.push_back(s.dim(tensor(), axis));
      depths.push_back(s.count(fmt::format("layers.{}.blocks", stages()), ".norm1.weight"));
    } while (stages() < kMostStages && s.has(tensor()));
  }
};

template <class Archive, class Config>
void stage_fields(Archive& a, Config& c) {
  a.field("dim", c.dim, at_least(1));
  a.field("depths", c.depths, range(1, 1024));
  a.field("heads", c.heads, at_least(1));
}

inline void check_stages(const std::string& op, const SwinStages& c) {
  require(c.stages() >= 1 && c.stages() <= c.kMostStages && c.heads.size() == c.stages(), op,
          "{} depths and {} heads; one of each a stage and 1 to {} stages were expected", c.depths.size(),
          c.heads.size(), c.kMostStages);
  for (std::size_t s = 0; s < c.stages(); ++s)
    require(c.width(s) % c.heads[s] == 0, op, "stage {}: width {} does not divide into {} heads", s,
            c.width(s), c.heads[s]);
}

/// Channels of 2 x 2 neighbours of a frame beside each other: (B, N, C) of a grid -> (B, N', 4 C), and its
/// grid.
inline Var merge_neighbours(const Context& ctx, const Var& tokens, Grid& grid) {
  const std::int64_t B = tokens.dim(0), C = tokens.dim(2);
  const Var merged = merge_patches(ctx, reshape(ctx, tokens, {B * grid.frames, grid.rows, grid.columns, C}));
  grid = {grid.frames, merged.dim(1), merged.dim(2)};
  return reshape(ctx, merged, {B, grid.tokens(), 4 * C});
}

/// reduction(norm x): of four neighbours' channels, twice those of one.
class SwinMerging {
 public:
  template <class Config>
  SwinMerging(const Weights& w, const Config& c, std::size_t stage)
      : norm_(w / "norm", 4 * c.width(stage), c.grid_eps()),
        reduction_(w / "reduction", 4 * c.width(stage), c.width(stage + 1), {.bias = false}) {}
  Var operator()(const Context& ctx, const Var& x) const { return reduction_(ctx, norm_(ctx, x)); }

 private:
  LayerNorm norm_;
  Linear reduction_;
};

/// The window that a table of Swin's bias was made for: the told one where it has these rows, else a square
/// one. Throws Error under `op` where that must be told.
inline Pair swin_window_of(const char* op, const NamedShapes& s, const std::string& table, const Pair& told) {
  const std::int64_t rows = s.dim(table, 0), side = NamedShapes::square(rows).rows;
  if (s.told("window") && (2 * told.rows - 1) * (2 * told.columns - 1) == rows) return told;
  require(side % 2 == 1, op, "{} is of no square window, so that window must be told", table);
  return {(side + 1) / 2, (side + 1) / 2};
}

struct SwinPyramidConfig : SwinStages {
  // img_size decides windows, and so what positions in them mean, at construction; any size runs.
  PatchInput input = {.patch_size = {4, 4}, .patch_remainder = PatchInput::Remainder::pad};
  Pair window = {7, 7};
  GridFit window_fit = GridFit::shrink;
  PadOrder pad_order = PadOrder::pad_then_roll;
  double mlp_ratio = 4.0;
  bool patch_norm = true, absolute_pos = false;
  float norm_eps = 1e-5f;
  float merge_norm_eps = 0.0f;  // of patch norm and merging norms; 0: norm_eps
  double drop_path = 0.0;       // of the last block; rises linearly from 0

  float grid_eps() const { return merge_norm_eps > 0 ? merge_norm_eps : norm_eps; }
  WindowLayout layout(Window of, Grid grid, bool shifted) const {
    return fit_windows(of, grid, window_fit, pad_order, shifted);
  }
};

template <class Archive, class Config>
void pyramid_fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  stage_fields(a, c);
  a.field("window", c.window, range(1, 256));
  a.choice("window_fit", c.window_fit, {"shrink", "shrink_axis", "pad"});
  a.choice("pad_order", c.pad_order, {"pad_then_roll", "roll_then_pad"});
  remainder_field(a, c.input);
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("patch_norm", c.patch_norm);
  a.field("absolute_pos", c.absolute_pos);
  a.field("norm_eps", c.norm_eps);
  a.field("merge_norm_eps", c.merge_norm_eps);
  a.field("drop_path", c.drop_path, rate());
  a.only("act", "gelu");
  a.only("pool", "mean");
}

inline void check_pyramid(const std::string& op, const SwinPyramidConfig& c) {
  const Pair &image = c.input.img_size, &patch = c.input.patch_size;
  require(image.rows >= patch.rows && image.columns >= patch.columns, op,
          "img_size {} x {} is smaller than a patch of {} x {}", image.rows, image.columns, patch.rows,
          patch.columns);
  check_stages(op, c);
}

/// C: a SwinPyramidConfig. Block(w, c, stage, window, drop path), called with (ctx, x (B, rows * columns, C),
/// layout, maps). Merging(w, c, stage), called with (ctx, x (B, N, 4 C)), gives (B, N, 2 C).
template <class C, class Block, class Merging>
class SwinPyramid final : public ImageModelOf<C> {
 public:
  SwinPyramid(const Family& family, C config, const Weights& w);
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, ctx.shown("avgpool", mean_pool(ctx, encode(ctx, images, nullptr).tokens)));
  }
  Features features(const Context& ctx, const Var& images) const override {
    Features out;
    out.cls = mean_pool(ctx, encode(ctx, images, &out.levels).tokens);
    return out;
  }

 private:
  using Level = Features::Level;
  using ModelOf<C>::c;
  using Model::op;
  struct Stage {
    Window window;  // at construction
    std::vector<Block> blocks;
  };
  Level embed(const Context& ctx, const Var& images) const;
  /// Normed tokens of the last stage. `levels`, when given, gets every stage's, these as the last.
  Level encode(const Context& ctx, const Var& images, std::vector<Level>* levels) const;
  void run_blocks(const Context& ctx, std::size_t stage, Level& x) const;
  void merge(const Context& ctx, std::size_t stage, Level& x) const;

  LearnedAbsolute position_;
  PatchEmbed patch_embed_;
  LayerNorm patch_norm_, norm_;
  std::vector<Stage> stages_;
  std::vector<Merging> mergings_;  // none after the last stage
  Head head_;
  WindowMaps maps_;
};

template <class C, class Block, class Merging>
SwinPyramid<C, Block, Merging>::SwinPyramid(const Family& family, C config, const Weights& w)
    : ImageModelOf<C>(family, std::move(config)) {
  const C& c = this->c();
  Grid grid = c.input.grid();
  if (c.absolute_pos)  // another size has no rule in the paper's code; Hugging Face's is this one
    position_ = PositionTable{grid, 0, c.dim, "bicubic", "absolute_pos_embed"}(w);
  patch_embed_ = c.input.patch_embed(w / "patch_embed" / "proj", c.dim);
  if (c.patch_norm) patch_norm_ = LayerNorm(w / "patch_embed" / "norm", c.dim, c.grid_eps());
  const std::vector<float> rates = drop_rates(std::reduce(c.depths.begin(), c.depths.end()), c.drop_path);
  auto drop_path = rates.begin();
  for (std::size_t s = 0; s < c.stages(); ++s) {
    const Weights at = w / "layers" / static_cast<std::int64_t>(s);
    Stage& stage = stages_.emplace_back();
    stage.window = c.layout({c.window.rows, c.window.columns}, grid, false).window;
    for (std::int64_t b = 0; b < c.depths[s]; ++b)
      stage.blocks.emplace_back(at / "blocks" / b, c, s, stage.window, *drop_path++);
    if (s + 1 < c.stages()) mergings_.emplace_back(at / "downsample", c, s);
    grid = {1, (grid.rows + 1) / 2, (grid.columns + 1) / 2};
  }
  norm_ = LayerNorm(w / "norm", c.width(c.stages() - 1), c.norm_eps);
  head_ = Head(w / "head", c.width(c.stages() - 1), c.input.num_classes);
}

template <class C, class Block, class Merging>
Features::Level SwinPyramid<C, Block, Merging>::embed(const Context& ctx, const Var& images) const {
  const PatchInput& input = c().input;
  const Grid grid = input.grid(op(), images);
  Var x = input.embed(ctx, op(), patch_embed_, images);
  if (c().patch_norm) x = patch_norm_(ctx, x);
  ctx.show([] { return "patch_embed"; }, x);
  if (c().absolute_pos) x = position_.add_to(ctx, x, grid.rows, grid.columns);
  return {x, grid, input.patch_size.rows};
}

template <class C, class Block, class Merging>
Features::Level SwinPyramid<C, Block, Merging>::encode(const Context& ctx, const Var& images,
                                                       std::vector<Level>* levels) const {
  Level x = embed(ctx, images);
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    run_blocks(ctx, s, x);
    if (s < mergings_.size()) {
      if (levels != nullptr) levels->push_back(x);
      merge(ctx, s, x);
    }
    ctx.show([=] { return fmt::format("layers.{}", s); }, x.tokens);
  }
  x.tokens = ctx.shown("norm", norm_(ctx, x.tokens));
  if (levels != nullptr) levels->push_back(x);
  return x;
}

/// Every second block's windows are shifted.
template <class C, class Block, class Merging>
void SwinPyramid<C, Block, Merging>::run_blocks(const Context& ctx, std::size_t stage, Level& x) const {
  const Stage& s = stages_[stage];
  const WindowLayout layouts[] = {c().layout(s.window, x.grid, false), c().layout(s.window, x.grid, true)};
  for (std::size_t b = 0; b < s.blocks.size(); ++b) {
    x.tokens =
        checkpointed(ctx, x.tokens,
                     [this, &block = s.blocks[b], layout = layouts[b % 2]](
                         const Context& again, const Var& y) { return block(again, y, layout, maps_); });
    ctx.show([=] { return fmt::format("layers.{}.blocks.{}", stage, b); }, x.tokens);
  }
  ctx.show([=] { return fmt::format("layers.{}.blocks", stage); }, x.tokens);
}

/// Twice the width, half the grid.
template <class C, class Block, class Merging>
void SwinPyramid<C, Block, Merging>::merge(const Context& ctx, std::size_t stage, Level& x) const {
  x.tokens = mergings_[stage](ctx, merge_neighbours(ctx, x.tokens, x.grid));
  x.stride *= 2;
  ctx.show([=] { return fmt::format("layers.{}.downsample", stage); }, x.tokens);
}

}  // namespace locant
