#include "nn/linear_norm.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {
namespace {

Shape shape_of(std::int64_t in, std::int64_t out, bool pointwise) {
  return pointwise ? Shape{out, in, 1, 1} : Shape{out, in};
}

BatchNorm norm_of(const Weights& w, std::int64_t out, const LinearNorm::Options& o) {
  return BatchNorm(w / "bn", out, {.eps = o.eps, .channels = ChannelAxis::last}, o.norm_init);
}

PackedSource fold(const Weights& w, std::int64_t in, std::int64_t out, const LinearNorm::Options& o) {
  PackedSource folded(w / "c", shape_of(in, out, o.pointwise), Init::fan_in(in), std::nullopt);
  folded.fold(norm_of(w, out, o));
  return folded;
}

}  // namespace

LinearNorm::LinearNorm(const Weights& w, std::int64_t in, std::int64_t out, const Options& o) {
  if (w.mode() == WeightMode::inference) {
    folded_ = fold(w, in, out, o).linear();
    return;
  }
  product_ = Linear(
      w / "c", in, out,
      {.bias = false, .weight_init = Init::fan_in(in), .weight_shape = shape_of(in, out, o.pointwise)});
  norm_ = norm_of(w, out, o);
}

Var LinearNorm::operator()(const Context& ctx, const Var& x, const Var& skip) const {
  if (folded_.defined())
    return Var(folded_.forward(x.value(), Activation::none, skip.defined() ? skip.value() : Tensor()));
  const Var y = norm_(ctx, product_(ctx, x));
  return skip.defined() ? add(ctx, skip, y) : y;
}

HeadsLinearNorm::HeadsLinearNorm(const Weights& w, std::int64_t in, std::int64_t heads,
                                 std::vector<std::int64_t> widths, const LinearNorm::Options& o)
    : heads_(heads), head_rows_(std::reduce(widths.begin(), widths.end())), widths_(std::move(widths)) {
  if (w.mode() != WeightMode::inference) {
    whole_ = LinearNorm(w, in, heads_ * head_rows_, o);
    return;
  }
  const PackedSource all = fold(w, in, heads_ * head_rows_, o);
  std::int64_t first = 0;
  for (const std::int64_t width : widths_) {
    Tensor weight({heads_ * width, in}), bias({heads_ * width});
    for (std::int64_t h = 0; h < heads_; ++h) {
      const std::int64_t row = h * head_rows_ + first;
      std::copy_n(all.weight.data() + row * in, width * in, weight.data() + h * width * in);
      std::copy_n(all.bias.data() + row, width, bias.data() + h * width);
    }
    parts_.emplace_back(weight, bias);
    first += width;
  }
}

std::vector<Var> HeadsLinearNorm::operator()(const Context& ctx, const Var& x) const {
  std::vector<Var> out;
  if (!parts_.empty()) {
    for (const PackedLinear& part : parts_)
      out.emplace_back(part.forward(x.value(), Activation::none, Tensor()));
    return out;
  }
  const std::int64_t B = x.dim(0), N = x.dim(1);
  const Var by_head = reshape(ctx, whole_(ctx, x), {B, N, heads_, head_rows_});
  std::int64_t first = 0;
  for (const std::int64_t width : widths_) {
    out.push_back(reshape(ctx, slice_axis(ctx, by_head, 3, first, first + width), {B, N, heads_ * width}));
    first += width;
  }
  return out;
}

NormLinear::NormLinear(const Weights& w, std::int64_t in, std::int64_t out, float eps) {
  const Weights product = w / "l";
  const BatchNorm norm(w / "bn", in, {.eps = eps, .channels = ChannelAxis::last});
  if (w.mode() != WeightMode::inference) {
    norm_ = norm;
    product_ = Linear(product, in, out);
    return;
  }
  Tensor weight = product.take("weight", {out, in}, Init::trunc_normal(0.02f)).clone();
  product.release("weight");
  Tensor bias = product.get("bias", {out}, Init::zeros()).value().clone();
  const Var scale = norm.scale({}), shift = norm.shift({}, scale);
  for (std::int64_t r = 0; r < out; ++r) {
    double sum = bias[r];
    for (std::int64_t c = 0; c < in; ++c) {
      sum += static_cast<double>(weight[r * in + c]) * static_cast<double>(shift.value()[c]);
      weight[r * in + c] *= scale.value()[c];
    }
    bias[r] = static_cast<float>(sum);
  }
  folded_ = PackedLinear(weight, bias);
}

Var NormLinear::operator()(const Context& ctx, const Var& x) const {
  if (folded_.defined()) return Var(folded_.forward(x.value(), Activation::none, Tensor()));
  return product_(ctx, norm_(ctx, x));
}

}  // namespace locant
