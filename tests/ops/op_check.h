#pragma once

#include <gtest/gtest.h>

#include <complex>
#include <vector>

#include "autograd/tape.h"
#include "core/parallel.h"
#include "tests/support/gradcheck.h"

namespace locant::testing {

template <class T>
using Values = std::vector<std::vector<T>>;

/// An index of a std::vector.
inline std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

enum class Derivative { complex_step, differences };

/// The op on leaves that all want a gradient, driven by `dy`: its result and the gradients.
template <class Op>
std::vector<Tensor> run_op(const Op& op, const std::vector<Tensor>& inputs, const Tensor& dy,
                           const std::vector<bool>& wanted) {
  Tape tape;
  const Context ctx{.tape = &tape};
  std::vector<Var> leaves;
  for (std::size_t i = 0; i < inputs.size(); ++i) leaves.emplace_back(inputs[i], wanted[i]);
  const Var y = op(ctx, leaves);
  tape.backward({{y, dy}});
  std::vector<Tensor> gradients;
  for (const Var& leaf : leaves) gradients.push_back(leaf.grad());
  return gradients;
}

/// Gradients of sum(dy * reference(inputs)) for every input.
template <class Reference>
Values<double> reference_gradients(const Reference& reference, const std::vector<Tensor>& inputs,
                                   const Tensor& dy, Derivative method) {
  std::vector<double> flat;
  for (const Tensor& input : inputs) flat.insert(flat.end(), input.values().begin(), input.values().end());
  const auto loss = [&](const auto& z) {
    using T = typename std::decay_t<decltype(z)>::value_type;
    Values<T> parts;
    auto at = z.begin();
    for (const Tensor& input : inputs) {
      parts.emplace_back(at, at + input.numel());
      at += input.numel();
    }
    const std::vector<T> y = reference(parts);
    T sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i)
      sum += y[i] * static_cast<double>(dy[static_cast<std::int64_t>(i)]);
    return sum;
  };
  std::vector<double> all;
  if constexpr (std::is_invocable_v<Reference, const Values<std::complex<double>>&>) {
    if (method == Derivative::complex_step) all = complex_step_gradient(loss, flat);
  }
  if (all.empty()) all = difference_gradient(loss, flat);
  Values<double> gradients;
  auto at = all.begin();
  for (const Tensor& input : inputs) {
    gradients.emplace_back(at, at + input.numel());
    at += input.numel();
  }
  return gradients;
}

/// Checks an op against `reference`, a callable on vectors of numbers of any type: the result, with and
/// without a tape; every gradient; that an input which wants none gets none; that a run repeats to the bit.
template <class Op, class Reference>
void expect_op(const char* what, const std::vector<Tensor>& inputs, const Op& op, const Reference& reference,
               Derivative method = Derivative::complex_step, double tolerance = 3e-6) {
  SCOPED_TRACE(what);
  std::vector<Var> constants;
  Values<double> values;
  for (const Tensor& input : inputs) {
    constants.emplace_back(input);
    values.push_back(to_double(input));
  }
  const Var y = op(Context{}, constants);
  EXPECT_FALSE(y.requires_grad());
  expect_close(y.value(), reference(values), tolerance, "result");

  const Tensor dy = random_tensor(y.shape(), 99);
  const std::vector<bool> all(inputs.size(), true);
  const std::vector<Tensor> got = run_op(op, inputs, dy, all);
  const std::vector<Tensor> again = run_op(op, inputs, dy, all);
  const Values<double> want = reference_gradients(reference, inputs, dy, method);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    SCOPED_TRACE("input " + std::to_string(i));
    ASSERT_TRUE(got[i].defined());
    expect_close(got[i], want[i], 2 * tolerance, "gradient");
    EXPECT_TRUE(std::equal(got[i].values().begin(), got[i].values().end(), again[i].values().begin()));
    std::vector<bool> one(inputs.size(), false);
    one[i] = true;
    const std::vector<Tensor> alone = run_op(op, inputs, dy, one);
    for (std::size_t j = 0; j < inputs.size(); ++j) EXPECT_EQ(alone[j].defined(), i == j);
  }
}

/// Result, then gradients of all inputs, on `threads` threads.
template <class Op>
std::vector<Tensor> numbers_on_threads(const std::vector<Tensor>& inputs, const Op& op, int threads) {
  const int before = num_threads();
  set_num_threads(threads);
  std::vector<Var> constants;
  for (const Tensor& input : inputs) constants.emplace_back(input);
  const Tensor y = op(Context{}, constants).value();
  std::vector<Tensor> got =
      run_op(op, inputs, random_tensor(y.shape(), 99), std::vector<bool>(inputs.size(), true));
  got.push_back(y);
  set_num_threads(before);
  return got;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return std::equal(a.values().begin(), a.values().end(), b.values().begin());
}

/// Result and gradients of an op have the same bits with 1, 2 and 3 threads.
template <class Op>
void expect_same_for_threads(const char* what, const std::vector<Tensor>& inputs, const Op& op) {
  SCOPED_TRACE(what);
  const std::vector<Tensor> first = numbers_on_threads(inputs, op, 1);
  for (const int threads : {1, 2, 3}) {
    const std::vector<Tensor> got = numbers_on_threads(inputs, op, threads);
    for (std::size_t i = 0; i < got.size(); ++i)
      EXPECT_TRUE(same_bits(got[i], first[i]))
          << (i < inputs.size() ? "gradient of input " + std::to_string(i) : "result") << " with " << threads
          << " threads";
  }
}

/// What goes through oneDNN: equal bits for equal thread counts, and nearly equal ones for others.
template <class Op>
void expect_same_for_thread_counts(const char* what, const std::vector<Tensor>& inputs, const Op& op) {
  SCOPED_TRACE(what);
  const std::vector<Tensor> first = numbers_on_threads(inputs, op, 1);
  for (const int threads : {1, 2, 3}) {
    const std::vector<Tensor> got = numbers_on_threads(inputs, op, threads),
                              again = numbers_on_threads(inputs, op, threads);
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_TRUE(same_bits(got[i], again[i])) << "number " << i << " with " << threads << " threads";
      expect_close(got[i], to_double(first[i]), 1e-5, "the same on other threads");
    }
  }
}

}  // namespace locant::testing
