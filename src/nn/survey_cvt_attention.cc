#include "nn/survey_cvt_attention.h"

#include "core/error.h"
#include "ops/layout.h"
#include "position/conv_projection.h"

namespace locant {

namespace {

constexpr const char* kSurveyCvtOp = "survey_cvt_attention";

using CvtForm = SurveyCvtAttention::Form;

/// Of a product with PyTorch's start.
Linear::Options torch_linear(std::int64_t in) {
  return {.weight_init = Init::fan_in(in), .bias_init = Init::fan_in(in)};
}

}  // namespace

SurveyCvtAttention::Projection::Projection(const Weights& w, const Options& o, std::int64_t stride)
    : cls_token_(o.cls_token), cls_as_it_is_(o.form == CvtForm::literal) {
  const std::int64_t C = o.width, inner = o.heads * o.head_dim;
  const Conv2d::Options depthwise = Conv2d::square(o.kernel, stride, o.kernel / 2, C, cls_as_it_is_);
  if (w.mode() == WeightMode::inference) {
    PackedSource source = Conv2d::source(w / "depthwise", C, C, depthwise);
    source.fold(BatchNorm(w / "bn", C));
    packed_ = source.depthwise(depthwise.conv);
  } else {
    depthwise_ = Conv2d(w / "depthwise", C, C, depthwise);
    norm_ = BatchNorm(w / "bn", C);
  }
  Linear::Options pointwise = torch_linear(C);
  pointwise.weight_shape = {inner, C, 1, 1};
  pointwise_ = Linear(w / "pointwise", C, inner, pointwise);
}

Var SurveyCvtAttention::Projection::operator()(const Context& ctx, const Var& x, Grid grid) const {
  const std::int64_t prefix = cls_token_ ? 1 : 0;
  const Var y = packed_.defined() ? packed_on_grid(kSurveyCvtOp, packed_, x, grid, prefix)
                                  : on_grid(ctx, kSurveyCvtOp, x, grid, prefix,
                                            [&](const Var& map) { return norm_(ctx, depthwise_(ctx, map)); });
  if (!cls_token_ || !cls_as_it_is_) return pointwise_(ctx, y);
  return concat_rows(ctx, {select_rows(ctx, x, 0, 1), pointwise_(ctx, select_rows(ctx, y, 1, y.dim(1)))});
}

SurveyCvtAttention::SurveyCvtAttention(const Weights& w, const Options& o) : options_(o) {
  const std::int64_t C = o.width, inner = o.heads * o.head_dim;
  const bool literal = o.form == CvtForm::literal;
  require(C >= 1 && o.heads >= 1 && o.head_dim >= 1, kSurveyCvtOp,
          "{} heads of {} channels, made from {}; each must be 1 or more", o.heads, o.head_dim, C);
  require(o.kernel >= 1 && o.kernel <= 31 && o.kernel % 2 == 1, kSurveyCvtOp,
          "a kernel of {}; an odd one up to 31 was expected", o.kernel);
  require(!literal || !o.cls_token || inner == C, kSurveyCvtOp,
          "{} heads of {} channels do not hold the class token of {} as it is; they must make its width, or "
          "the form be corrected",
          o.heads, o.head_dim, C);
  const std::int64_t stride = literal ? 1 : 2;
  query_ = Projection(w / "to_q", o, 1);
  key_ = Projection(w / "to_k", o, stride);
  value_ = Projection(w / "to_v", o, stride);
  if (!literal || o.heads != 1 || o.head_dim != C)
    out_ = Linear(w / "to_out" / std::int64_t{0}, inner, C, torch_linear(inner));
  attention_.heads = o.heads;
  if (!literal) attention_.scale = conv_projection_scale(C);
}

Var SurveyCvtAttention::operator()(const Context& ctx, const Var& x, Grid grid) const {
  require(x.shape().rank() == 3 && x.dim(2) == options_.width, kSurveyCvtOp,
          "x of shape {}; (B, {}, {}) was expected", x.shape().str(),
          grid.tokens() + (options_.cls_token ? 1 : 0), options_.width);
  const Var y = attention(ctx, query_(ctx, x, grid), key_(ctx, x, grid), value_(ctx, x, grid), attention_);
  return out_.defined() ? out_(ctx, y) : y;
}

}  // namespace locant
