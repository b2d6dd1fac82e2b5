#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/conv_layers.h"
#include "nn/layers.h"
#include "position/conformer.h"

namespace locant {

// The Conformer of sooftware/conformer under its names. Everything is (batch, length, C).

struct ConformerOptions {
  std::int64_t width = 256, heads = 4;
  std::int64_t ffn_ratio = 4;  ///< hidden width of a feed-forward over C
  std::int64_t kernel = 31;    ///< of the depthwise convolution, odd
  bool half_step = true;       ///< feed-forwards count half
  float norm_eps = 1e-5f, bn_eps = 1e-5f;
  float dropout = 0.0f;  ///< of probabilities, and of every module's result
};

/// Attention with relative positions (position/conformer.h): `query_proj`, `key_proj`, `value_proj`,
/// `out_proj`, `pos_proj` without bias (each with `.linear`), `u_bias`, `v_bias`.
class ConformerRelativeAttention {
 public:
  ConformerRelativeAttention() = default;
  /// Throws Error when the heads do not divide the width.
  ConformerRelativeAttention(const Weights& w, const ConformerOptions& options);
  /// x (B, N, C); positions (1, 2N-1, C), or (B, 2N-1, C) for a table of its own per sample; key_lengths (B)
  /// or empty for all -> (B, N, C). Shows query_proj, pos_proj (B, 2N-1, C) and out_proj. Throws Error when
  /// shapes do not fit.
  Var operator()(const Context& ctx, const Var& x, const Var& positions,
                 const std::vector<std::int64_t>& key_lengths = {}) const;

 private:
  Var attend(const Context& ctx, const Var& q, const Var& k, const Var& v, const Var& rows,
             const std::vector<std::int64_t>& key_lengths) const;
  void show(const Context& ctx, const char* name, const Var& value) const;

  ConformerOptions options_;
  std::string path_;
  Linear query_, key_, value_, positions_, out_;
  Var u_, v_;
};

/// `layer_norm`, then `attention` on the sinusoids of distances N-1 to -(N-1). No residual.
class ConformerAttentionModule {
 public:
  ConformerAttentionModule() = default;
  ConformerAttentionModule(const Weights& w, const ConformerOptions& options);
  /// x (B, N, C) -> (B, N, C). Shows layer_norm and attention.
  Var operator()(const Context& ctx, const Var& x, const std::vector<std::int64_t>& key_lengths = {}) const;

 private:
  ConformerOptions options_;
  std::string path_;
  LayerNorm norm_;
  ConformerRelativeAttention attention_;
};

/// `sequential.0` norm, `.2.conv` C -> 2 C by points, GLU, `.4.conv` depthwise without bias, `.5` batch norm,
/// Swish, `.7.conv` by points. No residual.
class ConformerConvModule {
 public:
  ConformerConvModule() = default;
  /// Throws Error when the kernel is even.
  ConformerConvModule(const Weights& w, const ConformerOptions& options);
  /// x (B, N, C) -> (B, N, C).
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  float dropout_ = 0.0f;
  LayerNorm norm_;
  Linear expand_, project_;
  Conv1d depthwise_;
  BatchNorm batch_norm_;
};

/// `sequential.0` norm, `.1.linear`, Swish, `.4.linear`. No residual.
class ConformerFeedForward {
 public:
  ConformerFeedForward() = default;
  ConformerFeedForward(const Weights& w, const ConformerOptions& options);
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  float dropout_ = 0.0f;
  LayerNorm norm_;
  Linear expand_, project_;
};

/// Half a feed-forward, attention, convolution, half a feed-forward, each added to its input, and a norm:
/// `sequential.0.module` to `sequential.3.module` and `sequential.4`.
class ConformerBlock {
 public:
  ConformerBlock() = default;
  ConformerBlock(const Weights& w, const ConformerOptions& options);
  /// x (B, N, C) -> (B, N, C). Shows sequential.0 to sequential.3.
  Var operator()(const Context& ctx, const Var& x, const std::vector<std::int64_t>& key_lengths = {}) const;

 private:
  ConformerOptions options_;
  std::string path_;
  ConformerFeedForward first_, second_;
  ConformerAttentionModule attention_;
  ConformerConvModule conv_;
  LayerNorm norm_;
};

}  // namespace locant
