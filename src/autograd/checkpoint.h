#pragma once

#include <utility>

#include "autograd/tape.h"

namespace locant {

/// block(ctx, x), of which nothing but x is kept until backward, which computes it again (Chen et al. 2016,
/// "Training Deep Nets with Sublinear Memory Cost"): a third more work for the memory of one block. The same
/// bits as without: random draws are those of the first time, and running statistics move once. Plain
/// block(ctx, x) unless ctx.thrifty and something records. `block` is kept until then: it must own, or
/// outlive with the model, what it reads.
template <class Block>
Var checkpointed(const Context& ctx, const Var& x, Block block) {
  if (!ctx.thrifty || ctx.tape == nullptr || ctx.probe != nullptr) return block(ctx, x);
  const Rng before = ctx.rng != nullptr ? *ctx.rng : Rng();
  Var y;
  {
    Tape scratch;
    Context first = ctx;
    first.tape = &scratch;
    first.thrifty = false;
    y = block(first, Var(x.value(), x.requires_grad()));
  }
  if (!y.requires_grad()) return y;  // frozen, and so is all before it
  Context second = ctx;
  second.thrifty = false;
  second.again = true;
  return ctx.tape->record(y.value(), [second, before, x, block = std::move(block)](const Tensor& dy) {
    Tape tape;
    Rng rng = before;
    Context again = second;
    again.tape = &tape;
    again.rng = second.rng != nullptr ? &rng : nullptr;
    const Var input(x.value(), x.requires_grad());
    const Var output = block(again, input);
    tape.backward({{output, dy}});
    if (input.grad().defined()) x.accumulate(input.grad());
  });
}

}  // namespace locant
