#include "ops/conv2d.h"

#include <algorithm>
#include <mutex>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "core/untraced.h"
#include "ops/arithmetic_broadcast.h"
#include "ops/conv2d_reference.h"
#include "ops/depthwise_conv2d.h"
#include "ops/dnnl_engine_inl.h"

namespace locant {
namespace {

using reference::ConvShape;

ConvShape shape_of(const Tensor& x, const Shape& weight, const Conv2dOptions& o) {
  if (x.shape().rank() != 4 || weight.rank() != 4)
    fail("conv2d", "x of shape {} and weight {} must be (B, C, H, W) and (out, C / groups, kh, kw)",
         x.shape().str(), weight.str());
  constexpr std::int64_t kMost = std::int64_t{1} << 40;  // sums of these cannot overflow
  require(o.groups >= 1 && o.stride_rows >= 1 && o.stride_columns >= 1 && o.pad_rows >= 0 &&
              o.pad_columns >= 0 && o.stride_rows <= kMost && o.stride_columns <= kMost &&
              o.pad_rows <= kMost && o.pad_columns <= kMost,
          "conv2d", "groups {}, stride {} x {} and padding {} x {} do not make a convolution", o.groups,
          o.stride_rows, o.stride_columns, o.pad_rows, o.pad_columns);
  const std::int64_t C = x.dim(1), out = weight[0], kh = weight[2], kw = weight[3];
  if (C % o.groups != 0 || out % o.groups != 0 || weight[1] != C / o.groups || weight.numel() == 0)
    fail("conv2d", "weight of shape {} does not fit {} channels in {} groups", weight.str(), C, o.groups);
  const std::int64_t room_rows = x.dim(2) + 2 * o.pad_rows - kh,
                     room_columns = x.dim(3) + 2 * o.pad_columns - kw;
  if (room_rows < 0 || room_columns < 0)
    fail("conv2d", "a kernel of {} x {} is larger than a padded picture of {} x {}", kh, kw,
         x.dim(2) + 2 * o.pad_rows, x.dim(3) + 2 * o.pad_columns);
  return {x.dim(0),
          C,
          x.dim(2),
          x.dim(3),
          out,
          kh,
          kw,
          room_rows / o.stride_rows + 1,
          room_columns / o.stride_columns + 1,
          o.groups,
          o.stride_rows,
          o.stride_columns,
          o.pad_rows,
          o.pad_columns};
}

// A channel at a time, without oneDNN, which falls back to plain loops for the weights' gradient from 5 x 5
// on.
bool is_depthwise(const ConvShape& s) { return s.groups == s.C && (s.C > 1 || s.out == 1); }

DepthwiseShape depthwise_shape(const ConvShape& s) {
  return {s.B, s.C, s.out / s.C, ConvAxis(s.H, s.rows, s.kh, s.stride_rows, 1, s.pad_rows),
          ConvAxis(s.W, s.columns, s.kw, s.stride_columns, 1, s.pad_columns)};
}

#ifdef LOCANT_ONEDNN

using Layout = dnnl::memory::desc;
enum class Pass { forward, data, weights };

// Row-major extents of the three tensors, and the same with oneDNN free to choose the layout.
struct Layouts {
  explicit Layouts(const ConvShape& s, bool any) {
    const auto make = [&](const dnnl::memory::dims& extents) {
      return any ? Layout(extents, dnnl::memory::data_type::f32, dnnl::memory::format_tag::any)
                 : dnnl_ops::rows_layout(extents);
    };
    x = make({s.B, s.C, s.H, s.W});
    weight = s.groups > 1 ? make({s.groups, s.out / s.groups, s.C / s.groups, s.kh, s.kw})
                          : make({s.out, s.C, s.kh, s.kw});
    y = make({s.B, s.out, s.rows, s.columns});
  }
  Layout x, weight, y;
};

dnnl_ops::Plan make_plan(const ConvShape& s, Pass pass, bool bias) {
  namespace d = dnnl;
  const auto algorithm = d::algorithm::convolution_direct;
  const d::memory::dims stride = {s.stride_rows, s.stride_columns}, before = {s.pad_rows, s.pad_columns};
  // oneDNN wants the padding after the picture such that the kernel ends there: less than `before` where a
  // stride leaves a remainder.
  const d::memory::dims after = {(s.rows - 1) * s.stride_rows + s.kh - s.H - s.pad_rows,
                                 (s.columns - 1) * s.stride_columns + s.kw - s.W - s.pad_columns};
  const Layouts any(s, true);
  const Layout row = bias ? dnnl_ops::rows_layout({s.out}) : Layout();
  const auto kind = pass == Pass::forward ? d::prop_kind::forward_inference : d::prop_kind::forward_training;
  const d::convolution_forward::desc forward(kind, algorithm, any.x, any.weight, row, any.y, stride, before,
                                             after);
  const d::convolution_forward::primitive_desc hint(forward, dnnl_ops::attributes(), dnnl_ops::engine());
  if (pass == Pass::forward) {
    dnnl_ops::Plan plan{d::convolution_forward(hint), hint.scratchpad_desc(), hint.impl_info_str(), {}};
    plan.arguments = {{DNNL_ARG_SRC, hint.src_desc()},
                      {DNNL_ARG_WEIGHTS, hint.weights_desc()},
                      {DNNL_ARG_DST, hint.dst_desc()}};
    if (bias) plan.arguments.push_back({DNNL_ARG_BIAS, row});
    return plan;
  }
  if (pass == Pass::data) {
    const d::convolution_backward_data::desc desc(algorithm, any.x, any.weight, any.y, stride, before, after);
    const d::convolution_backward_data::primitive_desc pd(desc, dnnl_ops::attributes(), dnnl_ops::engine(),
                                                          hint);
    return {d::convolution_backward_data(pd),
            pd.scratchpad_desc(),
            pd.impl_info_str(),
            {{DNNL_ARG_DIFF_SRC, pd.diff_src_desc()},
             {DNNL_ARG_WEIGHTS, pd.weights_desc()},
             {DNNL_ARG_DIFF_DST, pd.diff_dst_desc()}}};
  }
  const d::convolution_backward_weights::desc desc(algorithm, any.x, any.weight, any.y, stride, before,
                                                   after);
  const d::convolution_backward_weights::primitive_desc pd(desc, dnnl_ops::attributes(), dnnl_ops::engine(),
                                                           hint);
  return {d::convolution_backward_weights(pd),
          pd.scratchpad_desc(),
          pd.impl_info_str(),
          {{DNNL_ARG_SRC, pd.src_desc()},
           {DNNL_ARG_DIFF_WEIGHTS, pd.diff_weights_desc()},
           {DNNL_ARG_DIFF_DST, pd.diff_dst_desc()}}};
}

std::shared_ptr<const dnnl_ops::Plan> plan_of(const ConvShape& s, Pass pass, bool bias) {
  const dnnl_ops::PlanKey key = {4,
                                 static_cast<int>(pass),
                                 bias,
                                 s.B,
                                 s.C,
                                 s.H,
                                 s.W,
                                 s.out,
                                 s.kh,
                                 s.kw,
                                 s.groups,
                                 s.stride_rows,
                                 s.stride_columns,
                                 s.pad_rows,
                                 s.pad_columns};
  return dnnl_ops::plan("conv2d", key, [&] { return make_plan(s, pass, bias); });
}

// Runs one pass on row-major tensors; the one that it computes is `x`, `weight` or `y`, by pass. `packed`:
// how the weight lies, where it is not row-major.
void run(const ConvShape& s, Pass pass, const float* x, const float* weight, const float* bias,
         const float* y, const Layout* packed = nullptr) {
  const auto plan = plan_of(s, pass, bias != nullptr);
  const Layouts plain(s, false);
  const Layout* stored[3] = {&plain.x, packed != nullptr ? packed : &plain.weight, &plain.y};
  const float* rows[3] = {x, weight, y};
  const std::size_t result = pass == Pass::data ? 0 : pass == Pass::weights ? 1 : 2;
  Tensor moved[3];
  const float* buffers[4] = {x, weight, y, bias};
  for (std::size_t i = 0; i < 3; ++i) {
    const Layout& wanted = plan->arguments[i].layout;
    if (wanted == *stored[i]) continue;
    moved[i] = Tensor({static_cast<std::int64_t>(wanted.get_size() / sizeof(float))});
    if (i != result) dnnl_ops::reorder(rows[i], *stored[i], moved[i].data(), wanted);
    buffers[i] = moved[i].data();
  }
  plan->run({buffers, bias != nullptr ? std::size_t{4} : std::size_t{3}});
  if (moved[result].defined())
    dnnl_ops::reorder(moved[result].data(), plan->arguments[result].layout, const_cast<float*>(rows[result]),
                      *stored[result]);
}

// The weight of a packed convolution: as it came, or as a plan wanted it.
struct PackedWeight {
  Tensor numbers;
  Layout layout = {};  // of row-major numbers none

  PackedWeight wanted_by(const ConvShape& s, bool bias) const {
    const Layout wanted = plan_of(s, Pass::forward, bias)->arguments[1].layout;
    const Layout now = layout.is_zero() ? Layouts(s, false).weight : layout;
    if (wanted == now) return {numbers, now};
    PackedWeight out{Tensor({static_cast<std::int64_t>(wanted.get_size() / sizeof(float))}), wanted};
    dnnl_ops::reorder(numbers.data(), now, out.numbers.data(), wanted);
    return out;
  }
  bool fits(const ConvShape& s, bool bias) const {
    return !layout.is_zero() && plan_of(s, Pass::forward, bias)->arguments[1].layout == layout;
  }
  void run_on(const ConvShape& s, const float* x, const float* bias, const float* y) const {
    run(s, Pass::forward, x, numbers.data(), bias, y, &layout);
  }
};

#else

enum class Pass { forward, data, weights };

// The products of images [first, last) that one pass adds up: into y, x or weight. Plain loops, for builds
// without oneDNN.
LOCANT_UNTRACED void add_products(const ConvShape& s, Pass pass, std::int64_t first, std::int64_t last,
                                  float* x, float* weight, float* y) {
  const std::int64_t in = s.C / s.groups, out = s.out / s.groups, step = s.stride_columns;
  for (std::int64_t b = first; b < last; ++b)
    for (std::int64_t o = 0; o < s.out; ++o)
      for (std::int64_t c = 0; c < in; ++c)
        for (std::int64_t u = 0; u < s.kh; ++u)
          for (std::int64_t v = 0; v < s.kw; ++v) {
            float& w = weight[((o * in + c) * s.kh + u) * s.kw + v];
            // Columns j of y for which j * step - pad + v is a column of x.
            const std::int64_t shift = v - s.pad_columns;
            const std::int64_t from = shift < 0 ? (-shift + step - 1) / step : 0;
            const std::int64_t to = shift >= s.W ? 0 : std::min(s.columns, (s.W - 1 - shift) / step + 1);
            for (std::int64_t i = 0; i < s.rows; ++i) {
              const std::int64_t h = i * s.stride_rows - s.pad_rows + u;
              if (h < 0 || h >= s.H) continue;
              float* row_x = x + ((b * s.C + o / out * in + c) * s.H + h) * s.W;
              float* row_y = y + ((b * s.out + o) * s.rows + i) * s.columns;
              if (pass == Pass::forward)
                for (std::int64_t j = from; j < to; ++j) row_y[j] += row_x[j * step + shift] * w;
              else if (pass == Pass::data)
                for (std::int64_t j = from; j < to; ++j) row_x[j * step + shift] += row_y[j] * w;
              else
                for (std::int64_t j = from; j < to; ++j) w += row_x[j * step + shift] * row_y[j];
            }
          }
}

void run(const ConvShape& s, Pass pass, const float* x, const float* weight, const float* bias,
         const float* y) {
  auto* dx = const_cast<float*>(x);
  auto* dweight = const_cast<float*>(weight);
  auto* out = const_cast<float*>(y);
  const std::int64_t pixels = s.rows * s.columns, weights = s.out * (s.C / s.groups) * s.kh * s.kw;
  if (pass == Pass::weights) std::fill_n(dweight, weights, 0.0f);
  const auto images = [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t size_x = s.C * s.H * s.W, size_y = s.out * pixels;
    if (pass == Pass::data) std::fill(dx + begin * size_x, dx + end * size_x, 0.0f);
    for (std::int64_t p = begin * s.out; p < end * s.out && pass == Pass::forward; ++p)
      std::fill_n(out + p * pixels, pixels, bias != nullptr ? bias[p % s.out] : 0.0f);
    trace_reads(x + begin * size_x, 1, (end - begin) * size_x, 0);
    trace_reads(y + begin * size_y, 1, (end - begin) * size_y, 0);
    trace_reads(weight, 1, weights, 0);
    add_products(s, pass, begin, end, dx, dweight, out);
  };
  pass == Pass::weights ? images(0, s.B) : parallel_for(s.B, 1, images);
}

struct PackedWeight {
  Tensor numbers;
  PackedWeight wanted_by(const ConvShape&, bool) const { return *this; }
  bool fits(const ConvShape&, bool) const { return true; }
  void run_on(const ConvShape& s, const float* x, const float* bias, const float* y) const {
    run(s, Pass::forward, x, numbers.data(), bias, y);
  }
};

#endif

}  // namespace

struct PackedConv2d::State {
  Shape shape{0};
  Tensor bias;
  std::mutex mutex;  // of `weight` alone: who has a copy of it works on
  PackedWeight weight;

  PackedWeight weight_for(const ConvShape& s) {
    const std::lock_guard lock(mutex);
    if (!weight.fits(s, bias.defined())) weight = weight.wanted_by(s, bias.defined());
    return weight;
  }
};

PackedConv2d::PackedConv2d(const Tensor& weight, const Tensor& bias) : state_(std::make_shared<State>()) {
  state_->shape = weight.shape();
  state_->bias = bias;
  state_->weight.numbers = weight;
}

namespace {

// convolve(s, offsets, y) writes y.
template <class Convolve>
Tensor forward_by(const Tensor& x, const Shape& weight, const Tensor& bias, const Conv2dOptions& options,
                  const Convolve& convolve) {
  const ConvShape s = shape_of(x, weight, options);
  if (bias.defined() && bias.shape() != Shape{s.out})
    fail("conv2d", "bias of shape {} for {} outputs", bias.shape().str(), s.out);
  ProfileScope scope("conv2d");
  Tensor y({s.B, s.out, s.rows, s.columns});
  if (s.out > 0) scope.works(y.numel() * (weight.numel() / s.out));
  if (s.B > 0)
    convolve(s, bias.defined() ? bias.data() : nullptr, y.data());  // else extents may be of any size
  return y;
}

}  // namespace

Tensor PackedConv2d::forward(const Tensor& x, const Conv2dOptions& options) const {
  return forward_by(
      x, state_->shape, state_->bias, options, [&](const ConvShape& s, const float* offsets, float* y) {
        if (is_depthwise(s))  // by its own kernel, which takes the weight as it came
          depthwise_forward(depthwise_shape(s), x.data(), state_->weight.numbers.data(), offsets, y);
        else
          state_->weight_for(s).run_on(s, x.data(), offsets, y);
      });
}

Tensor conv2d_forward(const Tensor& x, const Tensor& weight, const Tensor& bias,
                      const Conv2dOptions& options) {
  return forward_by(x, weight.shape(), bias, options,
                    [&](const ConvShape& s, const float* offsets, float* y) {
                      if (is_depthwise(s))
                        depthwise_forward(depthwise_shape(s), x.data(), weight.data(), offsets, y);
                      else
                        run(s, Pass::forward, x.data(), weight.data(), offsets, y);
                    });
}

void conv2d_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const Conv2dOptions& options,
                     Tensor* dx, Tensor* dweight, Tensor* dbias) {
  const ConvShape s = shape_of(x, weight.shape(), options);
  if (dy.shape() != Shape{s.B, s.out, s.rows, s.columns})
    fail("conv2d", "gradient of shape {} for a result of shape ({}, {}, {}, {})", dy.shape().str(), s.B,
         s.out, s.rows, s.columns);
  const ProfileScope scope("conv2d");
  if (s.B == 0) {
    if (dx != nullptr) *dx = Tensor(x.shape());
    if (dweight != nullptr) *dweight = Tensor::zeros(weight.shape());
    if (dbias != nullptr) *dbias = Tensor::zeros({s.out});
    return;
  }
  if (dx != nullptr) {
    *dx = Tensor(x.shape());
    if (is_depthwise(s))
      depthwise_input_gradient(depthwise_shape(s), weight.data(), dy.data(), dx->data());
    else
      run(s, Pass::data, dx->data(), weight.data(), nullptr, dy.data());
  }
  if (dweight != nullptr) {
    *dweight = Tensor(weight.shape());
    if (is_depthwise(s))
      depthwise_weight_gradient(depthwise_shape(s), x.data(), dy.data(), dweight->data());
    else
      run(s, Pass::weights, x.data(), dweight->data(), nullptr, dy.data());
  }
  if (dbias != nullptr) *dbias = sum_to(dy, {1, s.out, 1, 1}).reshaped({s.out});
}

Var conv2d(const Context& ctx, const Var& x, const Var& weight, const Var& bias,
           const Conv2dOptions& options) {
  Tensor y = conv2d_forward(x.value(), weight.value(), bias.defined() ? bias.value() : Tensor(), options);
  return ctx.record({x, weight, bias}, std::move(y), [x, weight, bias, options](const Tensor& dy) {
    Tensor dx, dweight, dbias;
    conv2d_backward(x.value(), weight.value(), dy, options, x.requires_grad() ? &dx : nullptr,
                    weight.requires_grad() ? &dweight : nullptr, bias.requires_grad() ? &dbias : nullptr);
    if (dx.defined()) x.accumulate(std::move(dx));
    if (dweight.defined()) weight.accumulate(std::move(dweight));
    if (dbias.defined()) bias.accumulate(std::move(dbias));
  });
}

}  // namespace locant
