#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "core/profile.h"
#include "ops/dnnl_engine_inl.h"
#include "ops/elementwise.h"
#include "ops/linear.h"

#ifndef LOCANT_ONEDNN
#include "kernels/row_ops.h"
#endif

namespace locant {

struct PackedLinear::State {
  std::int64_t in = 0, out = 0, bytes = 0;
  std::shared_ptr<float> weight;
  Tensor bias;
#ifdef LOCANT_ONEDNN
  // One layout serves every number of rows. Measured on shapes of Swin and ViT (rows 1 to 3136): with AVX-512
  // oneDNN's blocked matmul, below it its 1 x 1 convolution over channels-last pixels, which keeps a blocked
  // weight where its matmul repacks a plain one at every call. Sizes that the convolution has no fast code
  // for take that matmul.
  enum class Way { matmul, convolution } way = Way::matmul;
  dnnl::memory::desc layout;

  dnnl_ops::Plan make(std::int64_t M, Activation act, bool residual,
                      const dnnl::memory::desc& weight_layout) const;
  static dnnl::memory::desc any_layout(Way way, std::int64_t in, std::int64_t out);
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
constexpr auto kAny = dnnl::memory::format_tag::any;

template <class Descriptor, class Primitive>
dnnl_ops::Plan plan_of(const Descriptor& pd, bool bias, bool residual, int residual_index) {
  dnnl_ops::Plan plan{Primitive(pd), pd.scratchpad_desc(), pd.impl_info_str(), {}};
  plan.arguments = {
      {DNNL_ARG_SRC, pd.src_desc()}, {DNNL_ARG_WEIGHTS, pd.weights_desc()}, {DNNL_ARG_DST, pd.dst_desc()}};
  if (bias) plan.arguments.push_back({DNNL_ARG_BIAS, pd.bias_desc()});
  if (residual)
    plan.arguments.push_back(
        {DNNL_ARG_ATTR_MULTIPLE_POST_OP(residual_index) | DNNL_ARG_SRC_1, pd.dst_desc()});
  return plan;
}

}  // namespace

Layout PackedLinear::State::any_layout(Way way, std::int64_t in, std::int64_t out) {
  return way == Way::matmul ? Layout({in, out}, kFloat, kAny) : Layout({out, in, 1, 1}, kFloat, kAny);
}

dnnl_ops::Plan PackedLinear::State::make(std::int64_t M, Activation act, bool residual,
                                         const Layout& weight_layout) const {
  const bool gelu = act == Activation::gelu;
  const bool matmul = way == Way::matmul;
  const Layout src =
      matmul ? dnnl_ops::rows_layout({M, in}) : Layout({1, in, M, 1}, kFloat, dnnl::memory::format_tag::nhwc);
  const Layout dst = matmul ? dnnl_ops::rows_layout({M, out})
                            : Layout({1, out, M, 1}, kFloat, dnnl::memory::format_tag::nhwc);
  dnnl::post_ops post;
  if (gelu) post.append_eltwise(1.0f, dnnl::algorithm::eltwise_gelu_erf, 0.0f, 0.0f);
  if (residual) post.append_binary(dnnl::algorithm::binary_add, dst);
  const dnnl::primitive_attr attr = dnnl_ops::attributes(post);
  const int residual_index = gelu ? 1 : 0;
  if (matmul) {
    const Layout row = bias.defined() ? dnnl_ops::rows_layout({1, out}) : Layout();
    const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(src, weight_layout, row, dst), attr,
                                          dnnl_ops::engine());
    return plan_of<dnnl::matmul::primitive_desc, dnnl::matmul>(pd, bias.defined(), residual, residual_index);
  }
  const Layout row = bias.defined() ? dnnl_ops::rows_layout({out}) : Layout();
  const dnnl::convolution_forward::desc desc(dnnl::prop_kind::forward_inference,
                                             dnnl::algorithm::convolution_direct, src, weight_layout, row,
                                             dst, {1, 1}, {0, 0}, {0, 0});
  const dnnl::convolution_forward::primitive_desc pd(desc, attr, dnnl_ops::engine());
  return plan_of<dnnl::convolution_forward::primitive_desc, dnnl::convolution_forward>(
      pd, bias.defined(), residual, residual_index);
}

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
  constexpr std::int64_t kTypicalRows = 784;
  // The layout that a way asks for, when its implementation is one that uses packed weights.
  const auto packed_by = [&](State::Way way, std::string_view implementation) {
    state->way = way;
    const auto plan =
        dnnl_ops::plan("linear", {2, static_cast<int>(way), state->in, state->out, bias.defined()}, [&] {
          return state->make(kTypicalRows, Activation::gelu, true,
                             State::any_layout(way, state->in, state->out));
        });
    state->layout = plan->arguments[1].layout;
    return plan->implementation.find(implementation) != std::string::npos;
  };
  if (!packed_by(State::Way::matmul, "brg") && !packed_by(State::Way::convolution, "jit_1x1")) {
    state->way = State::Way::matmul;
    state->layout = Layout({state->in, state->out}, kFloat, dnnl::memory::format_tag::ba);
  }
  state->bytes = static_cast<std::int64_t>(state->layout.get_size());
  state->weight = allocate(state->bytes);
  const Layout stored = state->way == State::Way::matmul
                            ? Layout({state->in, state->out}, kFloat, dnnl::memory::format_tag::ba)
                            : Layout({state->out, state->in, 1, 1}, kFloat, dnnl::memory::format_tag::oihw);
  dnnl_ops::reorder(weight.data(), stored, state->weight.get(), state->layout);
  state_ = std::move(state);
}

#else

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
  state->bytes = weight.bytes();
  state->weight = allocate(state->bytes);
  std::copy_n(weight.data(), weight.numel(), state->weight.get());
  state_ = std::move(state);
}

#endif

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
  const ProfileScope scope("linear");
  const std::int64_t M = x.numel() / s.in;
#ifdef LOCANT_ONEDNN
  Tensor y(shape);
  if (M == 0) return y;
  const dnnl_ops::PlanKey key = {3,
                                 static_cast<int>(s.way),
                                 s.in,
                                 s.out,
                                 s.bias.defined(),
                                 M,
                                 static_cast<int>(act),
                                 residual.defined()};
  const auto plan =
      dnnl_ops::plan("linear", key, [&] { return s.make(M, act, residual.defined(), s.layout); });
  const float* buffers[5] = {x.data(), s.weight.get(), y.data()};
  std::size_t count = 3;
  if (s.bias.defined()) buffers[count++] = s.bias.data();
  if (residual.defined()) buffers[count++] = residual.data();
  plan->run({buffers, count});
#else
  Tensor y = linear_forward(x, Tensor::borrowed({s.out, s.in}, s.weight.get(), s.weight), s.bias);
  if (act == Activation::gelu) row_ops().gelu(y.data(), y.numel(), y.data());
  if (residual.defined() && M > 0) row_ops().add(y.data(), residual.data(), 1.0f, y.numel(), y.data());
#endif
  return y;
}

}  // namespace locant
