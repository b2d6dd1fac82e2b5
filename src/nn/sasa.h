#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "nn/conv_layers.h"
#include "position/sasa.h"

namespace locant {

/// Stand-alone self-attention layers as leaderj1001's port builds them: each channel attends by itself over
/// the window around a place (position/sasa.h, per-channel form). `query_conv`, `key_conv`, `value_conv` are
/// 1x1 convolutions; keys and values outside the picture are what they make of zeros: zero, or the bias.
struct SasaOptions {
  std::int64_t in = 0, out = 0;
  std::int64_t kernel = 7, pad = 3;  ///< the window starts `pad` places above and left of its query
  std::int64_t groups = 1;           ///< divides `out`; names channels only, but for the stem's embeddings
  bool bias = false;
};

/// Row maps of one window for grids of any size, made once. Safe to call from several threads.
class SasaMaps {
 public:
  explicit SasaMaps(const LocalWindow& window, std::int64_t mixtures = 1)
      : window_(window), mixtures_(mixtures) {}
  std::shared_ptr<const RowMaps> rows(std::int64_t rows, std::int64_t columns) const;

 private:
  LocalWindow window_;
  std::int64_t mixtures_;
  mutable std::mutex mutex_;
  mutable Grid grid_{0, 0, 0};
  mutable std::shared_ptr<const RowMaps> kept_;
};

/// The layer in place of a 3x3 convolution: kernel = 2 pad + 1, stride 1, tables `rel_h`, `rel_w`.
class SasaConv {
 public:
  SasaConv() = default;
  /// Throws Error when the kernel is not 2 pad + 1, `out` is odd, or groups do not divide it.
  SasaConv(const Weights& w, const SasaOptions& options);
  /// images (B, in, H, W) -> (B, out, H, W). Shows query_conv and key_conv, the latter with its padding.
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  SasaOptions options_;
  std::string path_;
  LocalWindow window_;
  Sasa tables_;
  Conv2d query_, key_, value_;
  std::shared_ptr<const OffsetMap> gather_;
  std::shared_ptr<const SasaMaps> maps_;
};

/// The stem: no position term; values are a mixture of `value_conv.0`, `value_conv.1`, ... whose weights
/// depend on the place in the window,
///   v_ab = sum_m p(m; a, b) V_m x_ab,   p(m; a, b) = softmax_m(emb_mix_m.(emb_a[a] + emb_b[b])).
/// Since the p(m; a, b) of a place sum to 1, this is attention over M times the keys, copy m with the score +
/// log p(m; a, b) and the values V_m x.
class SasaStem {
 public:
  SasaStem() = default;
  /// Throws Error when the window is wider than the padding allows, groups do not divide `out`, or there is a
  /// bias.
  SasaStem(const Weights& w, const SasaOptions& options, std::int64_t mixtures);
  /// images (B, in, H, W) -> (B, out, H, W). Shows query_conv and key_conv, the latter with its padding.
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  AttentionTerm mixture_term(const Context& ctx) const;

  SasaOptions options_;
  std::int64_t mixtures_ = 0;
  std::string path_;
  LocalWindow window_;
  Var emb_a_, emb_b_, emb_mix_;  // (out / groups, k) twice, (M, out / groups)
  Conv2d query_, key_;
  std::vector<Conv2d> values_;
  std::shared_ptr<const OffsetMap> gather_;
  AttentionVisibility visibility_;
  std::shared_ptr<const SasaMaps> maps_;
};

}  // namespace locant
