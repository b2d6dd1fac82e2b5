#pragma once

// The two branches of a transformer's layer as Vaswani et al. 2017 have them, under the names of PyTorch's
// TransformerEncoderLayer.

#include <cstdint>
#include <utility>

#include "models/parts.h"
#include "nn/layers.h"
#include "ops/activation.h"
#include "ops/elementwise.h"

namespace locant {

struct SublayerOptions {
  enum class Act { relu, gelu };
  std::int64_t width = 512, ffn_dim = 2048;
  bool pre_norm = false;
  Act act = Act::relu;
  float norm_eps = 1e-5f;
  float dropout = 0.0f;  ///< of hidden channels and branches
};

/// Of a configuration: what all call alike.
template <class Config>
SublayerOptions sublayer_options(const Config& c) {
  SublayerOptions out;
  out.width = c.dim;
  out.ffn_dim = c.ffn_dim;
  out.norm_eps = c.norm_eps;
  out.dropout = static_cast<float>(c.dropout);
  return out;
}

/// norm(x + branch(x)), or with pre_norm x + branch(norm(x)).
class Sublayer {
 public:
  Sublayer(const Weights& norm, const SublayerOptions& o)
      : norm_(norm, o.width, o.norm_eps), residual_(0.0f, Var(), o.dropout), pre_norm_(o.pre_norm) {}
  /// `branch(y, skip)` as in Residual.
  template <class Branch>
  Var operator()(const Context& ctx, const Var& x, const Branch& branch) const {
    const Var y = pre_norm_ ? norm_(ctx, x) : x;
    const Var sum = residual_(ctx, x, [&](const Var& skip) { return branch(y, skip); });
    return pre_norm_ ? sum : norm_(ctx, sum);
  }

 private:
  LayerNorm norm_;
  Residual residual_;
  bool pre_norm_;
};

/// `linear1`, activation, `linear2`.
class FeedForward {
 public:
  FeedForward(const Weights& w, const SublayerOptions& o)
      : options_(o),
        linear1_(linear(w / "linear1", o.width, o.ffn_dim)),
        linear2_(linear(w / "linear2", o.ffn_dim, o.width)) {}
  Var operator()(const Context& ctx, const Var& x, const Var& skip) const {
    const Var hidden = options_.act == SublayerOptions::Act::gelu ? linear1_(ctx, x, Activation::gelu)
                                                                  : relu(ctx, linear1_(ctx, x));
    return linear2_(ctx, dropout(ctx, hidden, options_.dropout), Activation::none, skip);
  }

 private:
  static Linear linear(const Weights& w, std::int64_t in, std::int64_t out) {
    return {w, in, out, {.weight_init = Init::xavier_uniform(in, out), .bias_init = Init::fan_in(in)}};
  }
  SublayerOptions options_;
  Linear linear1_, linear2_;
};

/// Attention, then the feed-forward: `norm1`, `norm2`, `linear1`, `linear2`, and what Attention asks for.
template <class Attention>
class EncoderLayer {
 public:
  EncoderLayer(const Weights& w, Attention attention, const SublayerOptions& o)
      : attention_(std::move(attention)), feed_(w, o), attend_(w / "norm1", o), forward_(w / "norm2", o) {}
  /// `call(attention, y, skip)` gives the branch, plus skip where that is defined.
  template <class Call>
  Var operator()(const Context& ctx, Var x, const Call& call) const {
    x = attend_(ctx, x, [&](const Var& y, const Var& skip) { return call(attention_, y, skip); });
    return forward_(ctx, x, [&](const Var& y, const Var& skip) { return feed_(ctx, y, skip); });
  }

 private:
  Attention attention_;
  FeedForward feed_;
  Sublayer attend_, forward_;
};

}  // namespace locant
