#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "core/profile.h"
#include "ops/dnnl_engine_inl.h"
#include "ops/linear.h"

#ifndef LOCANT_ONEDNN
#include "kernels/row_ops.h"
#endif

namespace locant {

struct PackedLinear::State {
  std::int64_t in = 0, out = 0, bytes = 0;
  std::shared_ptr<float> weight;
  Tensor bias;

  void pack(const Tensor& plain);
  Tensor run(const Tensor& x, Activation act, const Tensor& residual) const;

#ifdef LOCANT_ONEDNN
  // One layout serves every number of rows. Measured on shapes of Swin and ViT (rows 1 to 3136): with AVX-512
  // oneDNN's blocked matmul, below it its 1 x 1 convolution over channels-last pixels, which keeps a blocked
  // weight where its matmul repacks a plain one at every call. Sizes that the convolution has no fast code
  // for take that matmul.
  enum class Way { matmul, convolution } way = Way::matmul;
  dnnl::memory::desc layout;

  /// The layout that oneDNN chooses for a weight; zero unless `implementation` is what it would run.
  dnnl::memory::desc wanted_layout(Way candidate, std::string_view implementation) const;
  dnnl_ops::Plan make(std::int64_t M, Activation act, bool residual) const;
#endif
};

namespace {

// Exactly as many bytes as asked for: a pool's rounding would cost a few percent of every model.
std::shared_ptr<float> allocate(std::int64_t bytes) {
  const std::int64_t rounded = (bytes + 63) / 64 * 64;
  auto* data = static_cast<float*>(std::aligned_alloc(64, static_cast<std::size_t>(rounded)));
  require(data != nullptr, "linear", "the system has no {} bytes left for a weight", rounded);
  return std::shared_ptr<float>(data, [](float* p) { std::free(p); });
}

}  // namespace

#ifdef LOCANT_ONEDNN

namespace {

using Layout = dnnl::memory::desc;
constexpr auto kFloat = dnnl::memory::data_type::f32;

// The product of M rows, as a matmul and as a 1 x 1 convolution over M pixels, channels last.
struct Problem {
  std::int64_t M, in, out;
  bool bias, gelu, residual;

  dnnl::primitive_attr attributes(const Layout& dst) const {
    dnnl::post_ops post;
    if (gelu) post.append_eltwise(1.0f, dnnl::algorithm::eltwise_gelu_erf, 0.0f, 0.0f);
    if (residual) post.append_binary(dnnl::algorithm::binary_add, dst);
    return dnnl_ops::attributes(post);
  }

  dnnl::matmul::primitive_desc matmul(const Layout& weight) const {
    const Layout dst = dnnl_ops::rows_layout({M, out}),
                 row = bias ? dnnl_ops::rows_layout({1, out}) : Layout();
    return {dnnl::matmul::desc(dnnl_ops::rows_layout({M, in}), weight, row, dst), attributes(dst),
            dnnl_ops::engine()};
  }

  dnnl::convolution_forward::primitive_desc convolution(const Layout& weight) const {
    constexpr auto kPixels = dnnl::memory::format_tag::nhwc;
    const Layout src({1, in, M, 1}, kFloat, kPixels), dst({1, out, M, 1}, kFloat, kPixels);
    const Layout row = bias ? dnnl_ops::rows_layout({out}) : Layout();
    const dnnl::convolution_forward::desc desc(dnnl::prop_kind::forward_inference,
                                               dnnl::algorithm::convolution_direct, src, weight, row, dst,
                                               {1, 1}, {0, 0}, {0, 0});
    return {desc, attributes(dst), dnnl_ops::engine()};
  }

  template <class Primitive, class Descriptor>
  dnnl_ops::Plan plan(const Descriptor& pd) const {
    dnnl_ops::Plan plan{Primitive(pd), pd.scratchpad_desc(), pd.impl_info_str(), {}};
    plan.arguments = {
        {DNNL_ARG_SRC, pd.src_desc()}, {DNNL_ARG_WEIGHTS, pd.weights_desc()}, {DNNL_ARG_DST, pd.dst_desc()}};
    if (bias) plan.arguments.push_back({DNNL_ARG_BIAS, pd.bias_desc()});
    const int post = DNNL_ARG_ATTR_MULTIPLE_POST_OP(gelu ? 1 : 0) | DNNL_ARG_SRC_1;
    if (residual) plan.arguments.push_back({post, pd.dst_desc()});
    return plan;
  }
};

}  // namespace

Layout PackedLinear::State::wanted_layout(Way candidate, std::string_view implementation) const {
  constexpr auto kAny = dnnl::memory::format_tag::any;
  const Problem typical{784, in, out, bias.defined(), true, true};
  try {
    if (candidate == Way::matmul) {
      const auto pd = typical.matmul(Layout({in, out}, kFloat, kAny));
      return std::string_view(pd.impl_info_str()).find(implementation) == 0 ? pd.weights_desc() : Layout();
    }
    const auto pd = typical.convolution(Layout({out, in, 1, 1}, kFloat, kAny));
    return std::string_view(pd.impl_info_str()).find(implementation) == 0 ? pd.weights_desc() : Layout();
  } catch (const dnnl::error&) {
    return Layout();  // no such implementation for these sizes
  }
}

dnnl_ops::Plan PackedLinear::State::make(std::int64_t M, Activation act, bool residual) const {
  const Problem problem{M, in, out, bias.defined(), act == Activation::gelu, residual};
  return way == Way::matmul ? problem.plan<dnnl::matmul>(problem.matmul(layout))
                            : problem.plan<dnnl::convolution_forward>(problem.convolution(layout));
}

void PackedLinear::State::pack(const Tensor& plain) {
  const dnnl_ops::OmpThreads threads;
  const Layout columns({in, out}, kFloat, dnnl::memory::format_tag::ba);
  Layout stored = columns;
  layout = wanted_layout(Way::matmul, "brg");
  if (layout.is_zero()) {
    layout = wanted_layout(Way::convolution, "jit_1x1");
    way = layout.is_zero() ? Way::matmul : Way::convolution;
    if (layout.is_zero()) layout = columns;
    if (way == Way::convolution) stored = Layout({out, in, 1, 1}, kFloat, dnnl::memory::format_tag::oihw);
  }
  bytes = static_cast<std::int64_t>(layout.get_size());
  weight = allocate(bytes);
  dnnl_ops::reorder(plain.data(), stored, weight.get(), layout);
}

Tensor PackedLinear::State::run(const Tensor& x, Activation act, const Tensor& residual) const {
  Tensor y(x.shape().with_last(out));
  const std::int64_t M = x.numel() / in;
  if (M == 0) return y;
  const dnnl_ops::PlanKey key = {
      3, static_cast<int>(way), in, out, bias.defined(), M, static_cast<int>(act), residual.defined()};
  const auto plan = dnnl_ops::plan("linear", key, [&] { return make(M, act, residual.defined()); });
  const float* buffers[5] = {x.data(), weight.get(), y.data()};
  std::size_t count = 3;
  if (bias.defined()) buffers[count++] = bias.data();
  if (residual.defined()) buffers[count++] = residual.data();
  plan->run({buffers, count});
  return y;
}

#else

void PackedLinear::State::pack(const Tensor& plain) {
  bytes = plain.bytes();
  weight = allocate(bytes);
  std::copy_n(plain.data(), plain.numel(), weight.get());
}

Tensor PackedLinear::State::run(const Tensor& x, Activation act, const Tensor& residual) const {
  Tensor y = linear_forward(x, Tensor::borrowed({out, in}, weight.get(), weight), bias);
  if (act == Activation::gelu) row_ops().gelu(y.data(), y.numel(), y.data());
  if (residual.defined()) row_ops().add(y.data(), residual.data(), 1.0f, y.numel(), y.data());
  return y;
}

#endif

PackedLinear::PackedLinear(const Tensor& weight, const Tensor& bias) {
  if (weight.shape().rank() != 2 || weight.numel() == 0)
    fail("linear", "a weight must be (out, in) and not empty; this one is {}", weight.shape().str());
  auto state = std::make_shared<State>();
  state->out = weight.dim(0);
  state->in = weight.dim(1);
  if (bias.defined() && bias.shape() != Shape{state->out})
    fail("linear", "bias of shape {} does not fit a weight of shape {}", bias.shape().str(),
         weight.shape().str());
  if (bias.defined()) state->bias = bias.clone();
  state->pack(weight);
  state_ = std::move(state);
}

std::int64_t PackedLinear::in() const { return state_ != nullptr ? state_->in : 0; }
std::int64_t PackedLinear::out() const { return state_ != nullptr ? state_->out : 0; }
std::int64_t PackedLinear::bytes() const { return state_ != nullptr ? state_->bytes : 0; }

Tensor PackedLinear::forward(const Tensor& x, Activation act, const Tensor& residual) const {
  require(state_ != nullptr, "linear", "the packed weight is empty; construct it from a weight first");
  const State& s = *state_;
  if (x.shape().rank() < 1 || x.dim(-1) != s.in)
    fail("linear", "x of shape {} does not fit a weight of shape ({}, {}); x must end in {}", x.shape().str(),
         s.out, s.in, s.in);
  const Shape shape = x.shape().with_last(s.out);
  if (residual.defined() && residual.shape() != shape)
    fail("linear", "residual of shape {} for a result of shape {}", residual.shape().str(), shape.str());
  ProfileScope scope("linear");
  scope.works(x.numel() * s.out);
  return s.run(x, act, residual);
}

}  // namespace locant
