#pragma once

// What PVT (Wang et al. 2021, figure 3) and Twins (Chu et al. 2021, figures 1 and 2) share: stages, each of
// patches of what the stage before gives and of blocks on their tokens, and the block. Positions, and what
// the head sees, are each family's own.
#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "models/parts.h"
#include "nn/layers.h"
#include "nn/spatial_reduction_attention.h"
#include "position/grid.h"

namespace locant {

struct PvtStages {
  static constexpr std::size_t kMostStages = 8;
  Pair img_size = {224, 224};
  std::int64_t in_chans = 3, num_classes = 1000;
  std::vector<std::int64_t> patch_sizes = {4, 2, 2, 2}, dims = {64, 128, 320, 512}, depths = {3, 4, 6, 3},
                            heads = {1, 2, 5, 8}, sr_ratios = {8, 4, 2, 1};
  std::vector<double> mlp_ratios = {8, 8, 4, 4};
  bool qkv_bias = true;
  float norm_eps = 1e-6f;        // of the blocks, and of the last norm
  float patch_norm_eps = 1e-5f;  // behind the patches of a stage
  float sr_norm_eps = 1e-5f;     // of reduced keys
  double drop_path = 0.0;        // of the last block; rises linearly from 0

  std::size_t stages() const { return depths.size(); }
  std::int64_t total_depth() const;
  std::int64_t chans(std::size_t stage) const { return stage == 0 ? in_chans : dims[stage - 1]; }
  std::int64_t hidden(std::size_t stage) const { return scaled_width(dims[stage], mlp_ratios[stage]); }
  /// Tokens of each stage. A remainder at the right and bottom is left out, as by the convolutions. Throws
  /// Error under `op` for a picture that leaves a stage without tokens, with the least that does not.
  std::vector<Grid> grids(std::string_view op, Pair image) const;
  /// Of images (B, in_chans, H, W). Throws Error for other shapes too.
  std::vector<Grid> grids(std::string_view op, const Var& images) const;
  SpatialReductionAttention::Options attention(std::size_t stage) const {
    return {.width = dims[stage],
            .heads = heads[stage],
            .ratio = sr_ratios[stage],
            .qkv_bias = qkv_bias,
            .norm_eps = sr_norm_eps};
  }
  /// Widths, depths, patches and MLPs. `embed(stage)` and `blocks(stage)` name them; block `global` of a
  /// stage has the reduction.
  template <class Embed, class Blocks>
  void from_shapes(const NamedShapes& s, const Embed& embed, const Blocks& blocks, std::int64_t global);
  /// Heads where nobody tells: `wide` channels each. Throws Error where a width has no such heads.
  void assume_heads(std::string_view op, const NamedShapes& s, std::int64_t wide);
};

template <class Archive, class Config>
void pvt_stage_fields(Archive& a, Config& c) {
  a.field("img_size", c.img_size, at_least(1));
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("num_classes", c.num_classes);
  a.field("patch_sizes", c.patch_sizes, range(1, 256));
  a.field("dims", c.dims, at_least(1));
  a.field("depths", c.depths, range(1, 1024));
  a.field("heads", c.heads, range(1, 1024));
  a.field("mlp_ratios", c.mlp_ratios, below(1024));
  a.field("sr_ratios", c.sr_ratios, range(1, 256));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("norm_eps", c.norm_eps);
  a.field("patch_norm_eps", c.patch_norm_eps);
  a.field("sr_norm_eps", c.sr_norm_eps);
  a.field("drop_path", c.drop_path, rate());
  a.only("act", "gelu");
}

/// Lists of one entry a stage, and MLPs that have a channel. Heads are each attention's to check.
void check_pvt_stages(const std::string& op, const PvtStages& c);

/// x + attention(norm1 x), then + mlp(norm2 x). Attention: called with (ctx, tokens, grid, skip).
template <class Attention, class Norm = LayerNorm, class FeedForward = Mlp>
class PvtBlock {
 public:
  PvtBlock(Norm norm1, Attention attention, Norm norm2, FeedForward mlp, float drop_path)
      : norm1_(std::move(norm1)),
        attention_(std::move(attention)),
        norm2_(std::move(norm2)),
        mlp_(std::move(mlp)),
        residual_(drop_path) {}
  /// Names `norm1`, `norm2`, `mlp`.
  PvtBlock(const Weights& w, const PvtStages& c, std::size_t stage, Attention attention, float drop_path)
      : PvtBlock(LayerNorm(w / "norm1", c.dims[stage], c.norm_eps), std::move(attention),
                 LayerNorm(w / "norm2", c.dims[stage], c.norm_eps),
                 Mlp(w / "mlp", c.dims[stage], c.hidden(stage)), drop_path) {}
  Var operator()(const Context& ctx, const Var& x, Grid grid) const {
    const Var y =
        residual_(ctx, x, [&](const Var& skip) { return attention_(ctx, norm1_(ctx, x), grid, skip); });
    return residual_(ctx, y, [&](const Var& skip) { return mlp_(ctx, norm2_(ctx, y), skip); });
  }

 private:
  Norm norm1_;
  Attention attention_;
  Norm norm2_;
  FeedForward mlp_;
  Residual residual_;
};

template <class Embed, class Blocks>
void PvtStages::from_shapes(const NamedShapes& s, const Embed& embed, const Blocks& blocks,
                            std::int64_t global) {
  const auto projection = [&](std::size_t stage) { return embed(stage) + ".proj.weight"; };
  const std::vector<double> known = mlp_ratios;
  const std::vector<std::int64_t> told = sr_ratios;  // where a stage has no such block
  patch_sizes = dims = depths = sr_ratios = {};
  mlp_ratios = {};
  for (std::size_t stage = 0; stage == 0 || (stage < kMostStages && s.has(projection(stage))); ++stage) {
    if (stage == 0) in_chans = s.dim(projection(0), 1);
    dims.push_back(s.dim(projection(stage), 0));
    patch_sizes.push_back(s.dim(projection(stage), 2));
    depths.push_back(s.count(blocks(stage), ".norm1.weight"));
    const std::string reduction = fmt::format("{}.{}.attn.sr.weight", blocks(stage), global);
    const bool nowhere = depths.back() <= global && stage < told.size();
    sr_ratios.push_back(s.has(reduction) ? s.dim(reduction, 2) : nowhere ? told[stage] : 1);
    double ratio = stage < known.size() ? known[stage] : 4.0;
    s.ratio(blocks(stage) + ".0.mlp.fc1.weight", ratio);
    mlp_ratios.push_back(ratio);
  }
  num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
  qkv_bias = s.has(blocks(0) + ".0.attn.q.bias") || s.has(blocks(0) + ".0.attn.qkv.bias");
}

}  // namespace locant
