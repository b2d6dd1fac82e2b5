#pragma once

#include "autograd/tape.h"

namespace locant {

/// Elementwise functions on any shape, each with its gradient.
Var relu(const Context& ctx, const Var& x);     ///< max(x, 0); gradient 0 at 0
Var relu6(const Context& ctx, const Var& x);    ///< min(max(x, 0), 6); gradient 0 at both corners
Var sigmoid(const Context& ctx, const Var& x);  ///< 1 / (1 + e^-x)
Var tanh(const Context& ctx, const Var& x);
Var silu(const Context& ctx, const Var& x);          ///< x sigmoid(x): Swish
Var hard_sigmoid(const Context& ctx, const Var& x);  ///< relu6(x + 3) / 6
Var hard_swish(const Context& ctx, const Var& x);    ///< x relu6(x + 3) / 6
Var quick_gelu(const Context& ctx, const Var& x);    ///< x sigmoid(1.702 x)
/// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2: the GELU of GPT and T5 1.1.
Var gelu_tanh(const Context& ctx, const Var& x);
Var elu(const Context& ctx, const Var& x);  ///< x for x > 0, else e^x - 1
/// GLU on [a | b] (..., 2 C) -> a sigmoid(b) (..., C): the gate is the second half.
Var glu(const Context& ctx, const Var& x);

}  // namespace locant
