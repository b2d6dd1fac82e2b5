#include "ops/linear.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/matmul.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

void check_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (weight.shape().rank() != 2 || x.shape().rank() < 1 || x.dim(-1) != weight.dim(1))
    fail("linear",
         "x of shape {} does not fit a weight of shape {}; x must end in the weight's second extent",
         x.shape().str(), weight.shape().str());
  if (bias.defined() && bias.shape() != Shape{weight.dim(0)})
    fail("linear", "bias of shape {} does not fit a weight of shape {}", bias.shape().str(),
         weight.shape().str());
}

std::int64_t linear_rows(const Tensor& x) { return x.shape().with_last(1).numel(); }

}  // namespace

Tensor linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_linear(x, weight, bias);
  const ProfileScope scope("linear");
  const std::int64_t M = linear_rows(x), out = weight.dim(0), in = weight.dim(1);
  Tensor y(x.shape().with_last(out));
  if (bias.defined())  // the product adds to it
    parallel_for(M, row_grain(out), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) std::copy_n(bias.data(), out, y.data() + r * out);
    });
  matmul({.transpose_b = true,
          .M = M,
          .N = out,
          .K = in,
          .a = x.data(),
          .lda = in,
          .b = weight.data(),
          .ldb = in,
          .beta = bias.defined() ? 1.0f : 0.0f,
          .c = y.data(),
          .ldc = out});
  return y;
}

void linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, Tensor* dx, Tensor* dweight,
                     Tensor* dbias) {
  check_linear(x, weight, Tensor());
  const std::int64_t M = linear_rows(x), out = weight.dim(0), in = weight.dim(1);
  if (dy.shape() != x.shape().with_last(out))
    fail("linear", "gradient of shape {} for x {} and weight {}", dy.shape().str(), x.shape().str(),
         weight.shape().str());
  const ProfileScope scope("linear");
  if (dx != nullptr) {  // dx = dy W
    *dx = Tensor(x.shape());
    matmul({.M = M,
            .N = in,
            .K = out,
            .a = dy.data(),
            .lda = out,
            .b = weight.data(),
            .ldb = in,
            .c = dx->data(),
            .ldc = in});
  }
  if (dweight != nullptr) {  // dW = dy^T x
    *dweight = Tensor(weight.shape());
    matmul({.transpose_a = true,
            .M = out,
            .N = in,
            .K = M,
            .a = dy.data(),
            .lda = out,
            .b = x.data(),
            .ldb = in,
            .c = dweight->data(),
            .ldc = in});
  }
  if (dbias != nullptr)
    *dbias = reduce_rows(M, out, [&](std::int64_t begin, std::int64_t end, float* sums) {
      row_ops().sum_rows(dy.data() + begin * out, nullptr, end - begin, out, sums);
    });
}

Var linear(const Context& ctx, const Var& x, const Var& weight, const Var& bias) {
  ProfileScope scope("linear");
  Tensor y = linear_forward(x.value(), weight.value(), bias.defined() ? bias.value() : Tensor());
  scope.works(x.shape().numel() * weight.dim(0));
  return ctx.record({x, weight, bias}, std::move(y), [x, weight, bias](const Tensor& dy) {
    const ProfileScope inner("linear");
    Tensor dx, dweight, dbias;
    linear_backward(x.value(), weight.value(), dy, x.requires_grad() ? &dx : nullptr,
                    weight.requires_grad() ? &dweight : nullptr, bias.requires_grad() ? &dbias : nullptr);
    if (dx.defined()) x.accumulate(std::move(dx));
    if (dweight.defined()) weight.accumulate(std::move(dweight));
    if (dbias.defined()) bias.accumulate(std::move(dbias));
  });
}

}  // namespace locant
