#include "autograd/tape.h"

#include <gtest/gtest.h>

#include "autograd/checkpoint.h"
#include "core/error.h"

namespace locant {
namespace tape_test {

// y = a * b elementwise, the smallest op there is.
Var multiply(const Context& ctx, const Var& a, const Var& b) {
  Tensor y(a.shape());
  for (std::int64_t i = 0; i < y.numel(); ++i) y[i] = a.value()[i] * b.value()[i];
  return ctx.record({a, b}, y, [a, b](const Tensor& dy) {
    Tensor da(a.shape()), db(b.shape());
    for (std::int64_t i = 0; i < dy.numel(); ++i) {
      da[i] = dy[i] * b.value()[i];
      db[i] = dy[i] * a.value()[i];
    }
    a.accumulate(da);
    b.accumulate(db);
  });
}

Var sum_of_two(const Context& ctx, const Var& a, const Var& b) {
  Tensor y(a.shape());
  for (std::int64_t i = 0; i < y.numel(); ++i) y[i] = a.value()[i] + b.value()[i];
  return ctx.record({a, b}, y, [a, b](const Tensor& dy) {
    a.accumulate(dy);
    b.accumulate(dy);
  });
}

TEST(Tape, ChainsAndSumsGradients) {
  Tape tape;
  const Context ctx{.tape = &tape};
  Var x(Tensor::full({1}, 3.0f), true);
  const Var y = multiply(ctx, x, x);                      // x^2
  const Var z = sum_of_two(ctx, multiply(ctx, y, x), y);  // x^3 + x^2
  tape.backward(z);
  EXPECT_FLOAT_EQ(x.grad()[0], 3 * 9.0f + 2 * 3.0f);
  EXPECT_EQ(tape.size(), 0u);
  EXPECT_FALSE(y.grad().defined());
}

TEST(Tape, SharedGradientsAreNotOverwritten) {
  Tape tape;
  const Context ctx{.tape = &tape};
  Var a(Tensor::full({2}, 1.0f), true), b(Tensor::full({2}, 1.0f), true);
  const Var first = sum_of_two(ctx, a, b);
  const Var second = sum_of_two(ctx, first, a);
  tape.backward({{second, Tensor::full({2}, 1.0f)}});
  EXPECT_FLOAT_EQ(a.grad()[0], 2.0f);
  EXPECT_FLOAT_EQ(b.grad()[0], 1.0f);
}

TEST(Tape, RecordsNothingWithoutATapeOrAWish) {
  Var x(Tensor::full({1}, 2.0f), true);
  EXPECT_FALSE(multiply(Context{}, x, x).requires_grad());
  Tape tape;
  const Var constant(Tensor::full({1}, 2.0f));
  EXPECT_FALSE(multiply(Context{.tape = &tape}, constant, constant).requires_grad());
  EXPECT_EQ(tape.size(), 0u);
}

TEST(Tape, KeepsAskedForGradients) {
  Tape tape;
  const Context ctx{.tape = &tape};
  Var x(Tensor::full({1}, 3.0f), true);
  const Var y = multiply(ctx, x, x);
  Tape::keep_grad(y);
  tape.backward(multiply(ctx, y, y));
  EXPECT_FLOAT_EQ(y.grad()[0], 18.0f);
}

TEST(Checkpoint, KeepsItsInputAloneAndGivesTheSameGradients) {
  const Var w(Tensor::full({1}, 5.0f), true), x(Tensor::full({1}, 3.0f), true);
  int computed = 0;
  const auto block = [&computed, w](const Context& ctx, const Var& v) {
    ++computed;
    return multiply(ctx, multiply(ctx, v, v), w);  // w v^2
  };
  Tape tape;
  const Context ctx{.tape = &tape, .thrifty = true};
  const Var y = checkpointed(ctx, multiply(ctx, x, x), block);  // w x^4
  EXPECT_FLOAT_EQ(y.value()[0], 5.0f * 81.0f);
  EXPECT_EQ(tape.size(), 2u);
  tape.backward(y);
  EXPECT_EQ(computed, 2);
  EXPECT_FLOAT_EQ(w.grad()[0], 81.0f);
  EXPECT_FLOAT_EQ(x.grad()[0], 4 * 5.0f * 27.0f);
  Var frozen(Tensor::full({1}, 5.0f), true);
  frozen.freeze();
  EXPECT_FALSE(checkpointed(ctx, Var(Tensor::full({1}, 3.0f)), [frozen](const Context& c, const Var& v) {
                 return multiply(c, v, frozen);
               }).requires_grad());
  EXPECT_EQ(tape.size(), 0u);
}

TEST(Tape, RefusesALossOfManyElements) {
  Tape tape;
  EXPECT_THROW(tape.backward(Var(Tensor::full({2}, 1.0f), true)), Error);
}

}  // namespace tape_test
}  // namespace locant
