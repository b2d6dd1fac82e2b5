#pragma once

#include <memory>
#include <string>

#include "models/parts.h"
#include "nn/layers.h"
#include "nn/windows.h"
#include "position/decomposed.h"

namespace locant {

/// What all blocks share in one pass over a grid.
struct SamPass {
  Grid grid;
  AxisIndices global;  ///< of blocks that attend over the whole grid
  std::shared_ptr<const RowMaps> windows;
  AxisIndices windowed;
  bool pads = false;  ///< some slots of the windows are padding

  /// A window of no places: no block has any.
  static SamPass over(const Grid& grid, const Window& window, const WindowMaps& maps);
};

/// A block of ViTDet and of SAM's image encoder: x + attention(norm1 x) with decomposed relative positions,
/// over the grid or in windows, then + mlp(norm2 x). Windows are padded behind the norm: a padded token is
/// zero, so that its key and value are the projection's bias, and it acts as a key. Names `norm1`,
/// `attn.qkv`, `attn.proj`, `attn.rel_pos_h`, `attn.rel_pos_w`, `norm2`, and those of the MLP's products.
class SamBlock {
 public:
  struct Options {
    std::int64_t dim = 768, heads = 12, hidden = 3072;
    Window window = {14, 14};
    Grid grid = {1, 64, 64};  ///< what the tables of a global block are made for; another one resizes them
    bool global = false;
    float norm_eps = 1e-6f;
    bool qkv_bias = true, rel_pos = true;
    float drop_path = 0.0f;
    const char *fc1 = "lin1", *fc2 = "lin2";  ///< under `mlp`; SAM's names
  };
  SamBlock(const Weights& w, const Options& options);
  /// x (B, N, C) is let go once it is no longer needed. Shows "<path>.attn", with padded queries as the
  /// source has it.
  Var operator()(const Context& ctx, Var x, const SamPass& pass) const;

 private:
  Var attend(const Context& ctx, const Var& normed, const SamPass& pass) const;
  void show_windows(const Context& ctx, const Var& normed, const SamPass& pass) const;

  std::string path_;
  bool global_;
  std::int64_t heads_;
  Window window_;
  LayerNorm norm1_, norm2_;
  Linear qkv_, proj_, fc1_, fc2_;
  Decomposed tables_;
  Residual residual_;
};

}  // namespace locant
