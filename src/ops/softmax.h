#pragma once

#include "autograd/tape.h"

namespace locant {

/// Over the last axis; a row of -inf alone gives zeros.
Tensor softmax_forward(const Tensor& x);
/// dx = y (dy - sum(dy y)).
Tensor softmax_backward(const Tensor& y, const Tensor& dy);
Var softmax(const Context& ctx, const Var& x);

/// x - log sum exp(x) over the last axis.
Var log_softmax(const Context& ctx, const Var& x);

}  // namespace locant
