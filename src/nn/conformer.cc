#include "nn/conformer.h"

#include "core/error.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/rearrange.h"

namespace locant {

namespace {

Linear xavier(const Weights& w, std::int64_t in, std::int64_t out) {
  return {w, in, out, {.weight_init = Init::xavier_uniform(in, out)}};
}

// A pointwise_linear convolution, as a product over channels that lie last.
Linear pointwise_linear(const Weights& w, std::int64_t in, std::int64_t out, bool bias) {
  return {w / "conv",
          in,
          out,
          {.bias = bias,
           .weight_init = Init::fan_in(in),
           .bias_init = Init::fan_in(in),
           .weight_shape = {out, in, 1}}};
}

Var act(const Context& ctx, const Var& x, const ConformerOptions& options) {
  return options.act == ConformerOptions::Act::silu ? silu(ctx, x) : gelu(ctx, x);
}

}  // namespace

ConformerConvModule::ConformerConvModule(const Weights& w, const ConformerOptions& options)
    : options_(options) {
  const std::int64_t C = options.width, kernel = options.kernel;
  require(kernel >= 1 && kernel % 2 == 1, "conformer", "a depthwise kernel of {}; it must be odd", kernel);
  const Weights s = w / "sequential";
  norm_ = LayerNorm(s / 0, C, options.norm_eps);
  expand_ = pointwise_linear(s / 2, C, 2 * C, options.pointwise_bias);
  if (w.mode() == WeightMode::inference) {
    const Init init = Init::fan_in(kernel);
    PackedSource source(s / 4 / "conv", {C, 1, kernel}, init,
                        options.depthwise_bias ? std::optional<Init>(init) : std::nullopt);
    source.fold(BatchNorm(s / 5, C, {.eps = options.bn_eps}));
    packed_ = source.depthwise({.pad_columns = kernel / 2, .groups = C});
  } else {
    depthwise_ = Conv1d(s / 4 / "conv", C, C, kernel, Conv1dOptions::same(kernel, C), options.depthwise_bias);
    batch_norm_ = BatchNorm(s / 5, C, {.eps = options.bn_eps});
  }
  project_ = pointwise_linear(s / 7, C, C, options.pointwise_bias);
}

Var ConformerConvModule::operator()(const Context& ctx, const Var& x) const {
  const Var gated = glu(ctx, expand_(ctx, norm_(ctx, x)));
  if (packed_.defined())  // of a line of frames
    return project_(ctx, act(ctx, Var(packed_.forward(gated.value(), 1, gated.dim(1))), options_));
  const Var conv = act(ctx, batch_norm_(ctx, depthwise_(ctx, permute(ctx, gated, {0, 2, 1}))), options_);
  return dropout(ctx, project_(ctx, permute(ctx, conv, {0, 2, 1})), options_.dropout);
}

ConformerFeedForward::ConformerFeedForward(const Weights& w, const ConformerOptions& options)
    : options_(options) {
  const std::int64_t C = options.width, hidden = options.ffn_dim;
  require(hidden >= 1, "conformer", "a hidden width of {}; it must be 1 at least", hidden);
  const Weights s = w / "sequential";
  norm_ = LayerNorm(s / 0, C, options.norm_eps);
  expand_ = xavier(s / 1 / "linear", C, hidden);
  project_ = xavier(s / 4 / "linear", hidden, C);
}

Var ConformerFeedForward::operator()(const Context& ctx, const Var& x) const {
  const Var hidden = dropout(ctx, act(ctx, expand_(ctx, norm_(ctx, x)), options_), options_.dropout);
  return dropout(ctx, project_(ctx, hidden), options_.dropout);
}

ConformerBlock::ConformerBlock(const Weights& w, const ConformerOptions& options)
    : options_(options),
      path_(w.path()),
      first_(w / "sequential" / 0 / "module", options),
      second_(w / "sequential" / 3 / "module", options),
      attention_(w / "sequential" / 1 / "module", options),
      conv_(w / "sequential" / 2 / "module", options),
      norm_(w / "sequential" / 4, options.width, options.norm_eps) {}

Var ConformerBlock::operator()(const Context& ctx, const Var& x, const ConformerCall& call) const {
  const float step = options_.half_step ? 0.5f : 1.0f;
  const auto shown = [&](const char* name, const Var& value) {
    ctx.show([&] { return join_path(path_, name); }, value);
    return value;
  };
  Var y = shown("sequential.0", add(ctx, affine(ctx, first_(ctx, x), step), x));
  if (options_.convolution_first) y = shown("sequential.2", add(ctx, conv_(ctx, y), y));
  y = shown("sequential.1", add(ctx, attention_(ctx, y, call), y));
  if (!options_.convolution_first) y = shown("sequential.2", add(ctx, conv_(ctx, y), y));
  y = shown("sequential.3", add(ctx, affine(ctx, second_(ctx, y), step), y));
  return norm_(ctx, y);
}

}  // namespace locant
