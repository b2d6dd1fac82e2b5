#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/layers.h"
#include "ops/rotate.h"
#include "position/conformer.h"

namespace locant {

// The self-attentions of Conformers, under the names of sooftware/conformer. Everything is (batch, length,
// C).

struct ConformerOptions {
  /// How attention knows places: not at all (torchaudio), by Transformer-XL's terms of distances
  /// (position/conformer.h), or by turning the hidden states from which q and k are made (wav2vec2).
  enum class Position { none, transformer_xl, rotary_hidden };
  enum class Act { silu, gelu };
  std::int64_t width = 256, heads = 4;
  std::int64_t ffn_dim = 1024;  ///< hidden width of a feed-forward
  std::int64_t kernel = 31;     ///< of the depthwise convolution, odd
  Position position = Position::transformer_xl;
  double rotary_base = 10000.0;
  bool joint_projection = true;  ///< q, k and v by one product, where there are no positions
  Act act = Act::silu;           ///< of feed-forwards and after the depthwise convolution
  bool pointwise_bias = true, depthwise_bias = false;
  bool half_step = true;           ///< feed-forwards count half
  bool convolution_first = false;  ///< before attention
  float norm_eps = 1e-5f, bn_eps = 1e-5f;
  float dropout = 0.0f;  ///< of probabilities, and of every module's result
};

/// What the layers of one call share.
struct ConformerCall {
  std::vector<std::int64_t> key_lengths = {};  ///< (B); empty: all
  AttentionVisibility visibility = {};
  Var positions = {};       ///< (1, 2N-1, C), for transformer_xl
  RotaryTable rotary = {};  ///< for rotary_hidden
};

/// For N tokens: all seen, positions made.
ConformerCall conformer_call(const ConformerOptions& options, std::int64_t N);

/// Attention with relative positions (position/conformer.h): `query_proj`, `key_proj`, `value_proj`,
/// `out_proj`, `pos_proj` without bias (each with `.linear`), `u_bias`, `v_bias`.
class ConformerRelativeAttention {
 public:
  ConformerRelativeAttention() = default;
  /// Throws Error when the heads do not divide the width.
  ConformerRelativeAttention(const Weights& w, const ConformerOptions& options);
  /// x (B, N, C); call.positions (1, 2N-1, C), or (B, 2N-1, C) for a table of its own per sample (with
  /// lengths alone) -> (B, N, C). Shows query_proj, pos_proj (B, 2N-1, C) and out_proj. Throws Error when
  /// shapes do not fit.
  Var operator()(const Context& ctx, const Var& x, const ConformerCall& call) const;

 private:
  Var attend(const Context& ctx, const Var& q, const Var& k, const Var& v, const Var& rows,
             const ConformerCall& call) const;
  void show(const Context& ctx, const char* name, const Var& value) const;

  ConformerOptions options_;
  std::string path_;
  Linear query_, key_, value_, positions_, out_;
  Var u_, v_;
};

/// Plain attention: `in_proj` (3 C, C; rows q, k, v), `out_proj.linear`.
class ConformerPlainAttention {
 public:
  ConformerPlainAttention() = default;
  ConformerPlainAttention(const Weights& w, const ConformerOptions& options);
  /// x (B, N, C) -> (B, N, C).
  Var operator()(const Context& ctx, const Var& x, const ConformerCall& call) const;

 private:
  ConformerOptions options_;
  Linear in_, out_;
};

/// Each of q, k and v by its own projection, under ConformerRelativeAttention's names. With rotary_hidden
/// q = W_q turn(x), k = W_k turn(x), v = W_v x: each head's slice of x turns by its place (position/rope.h,
/// halves). That is not rotary attention: the projections mix what was turned, so that scores do not depend
/// on distances alone.
class ConformerSplitAttention {
 public:
  ConformerSplitAttention() = default;
  ConformerSplitAttention(const Weights& w, const ConformerOptions& options);
  /// x (B, N, C) -> (B, N, C).
  Var operator()(const Context& ctx, const Var& x, const ConformerCall& call) const;

 private:
  ConformerOptions options_;
  Linear query_, key_, value_, out_;
};

/// `layer_norm`, then `attention`. No residual.
class ConformerAttentionModule {
 public:
  ConformerAttentionModule() = default;
  ConformerAttentionModule(const Weights& w, const ConformerOptions& options);
  /// x (B, N, C) -> (B, N, C). Shows layer_norm and attention.
  Var operator()(const Context& ctx, const Var& x, const ConformerCall& call) const;

 private:
  bool plain() const {
    return options_.position == ConformerOptions::Position::none && options_.joint_projection;
  }

  ConformerOptions options_;
  std::string path_;
  LayerNorm norm_;
  ConformerRelativeAttention relative_;
  ConformerPlainAttention plain_;
  ConformerSplitAttention split_;
};

}  // namespace locant
