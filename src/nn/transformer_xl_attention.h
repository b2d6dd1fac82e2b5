#pragma once

#include <cstdint>
#include <string>

#include "nn/layers.h"
#include "position/transformer_xl.h"

namespace locant {

/// Transformer-XL's attention layer with memory, residual and layer norm (position/transformer_xl.h), under
/// the names of kimiyoung/transformer-xl: `qkv_net`, `r_net`, `o_net`, none with a bias, and `layer_norm`; u
/// and v, or a learned table, lie elsewhere, since the original shares them between layers.
class TransformerXlAttention {
 public:
  struct Options {
    std::int64_t width = 410, heads = 10, head_width = 41;
    std::int64_t table_rows = 0;  ///< 0: projected sinusoids; else learned rows (attn_type 1)
    bool same_length = false;     ///< a query sees `mem_len` keys at most, itself included
    std::int64_t mem_len = 0;
    bool pre_norm = false;  ///< the norm acts on the layer's input, memory included
    bool residual = true;
    float norm_eps = 1e-5f;
    float dropout = 0.0f;            ///< of the result
    float attention_dropout = 0.0f;  ///< of probabilities
  };
  TransformerXlAttention() = default;
  /// `w`: the layer; `biases`: where r_w_bias and r_r_bias are (or r_w_bias, r_emb and r_bias). Throws Error
  /// on sizes below 1.
  TransformerXlAttention(const Weights& w, const Weights& biases, const Options& options)
      : TransformerXlAttention(w, biases_of(biases, options), options) {}
  /// The same with what biases_of gave, which several layers may share.
  TransformerXlAttention(const Weights& w, const TransformerXl& biases, const Options& options);
  /// u and v (or u, the rows and their numbers) alone.
  static TransformerXl biases_of(const Weights& w, const Options& options);
  /// Length first, as in the original: x (L, B, C), memory (M, B, C) or undefined, positions (M + L, C): the
  /// sinusoids of transformer_xl_sinusoids after dropout, undefined for them as they are (and with a learned
  /// table) -> (L, B, C). Shows qkv_net (M + L, B, 3 H D), r_net (M + L, 1, H D) and o_net (L, B, C). Throws
  /// Error when shapes do not fit.
  Var operator()(const Context& ctx, const Var& x, const Var& memory, const Var& positions = {}) const;

 private:
  TransformerXl relative(const Context& ctx, std::int64_t klen, const Var& positions) const;
  void show(const Context& ctx, const char* name, const Var& value) const;

  Options options_;
  std::string path_;
  Linear qkv_, r_, out_;
  LayerNorm norm_;
  TransformerXl xl_;
};

}  // namespace locant
