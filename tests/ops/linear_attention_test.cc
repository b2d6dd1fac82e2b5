#include "ops/linear_attention.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/error.h"
#include "core/parallel.h"
#include "core/pool.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace linear_attention_test {

using testing::random_tensor;
using testing::to_double;
using testing::worst_error;

constexpr std::int64_t kB = 2, kH = 2, kM = 3, kDv = 4;

// Features above zero, as maps make them.
Tensor features(const Shape& shape, std::uint64_t seed) {
  Tensor out = random_tensor(shape, seed, 0.5f);
  for (float& x : out.values()) x += 0.7f;
  return out;
}

struct Sizes {
  std::int64_t Nq, Nk;
  bool rotated;
  LinearAttentionOptions options;
};

// Result and gradients by the op, or by all pairs.
std::vector<Tensor> run(const Sizes& s, bool composed) {
  Tape tape;
  const Context ctx{.tape = &tape};
  const Var f(features({kB, s.Nq, kH * kM}, 1), true), g(features({kB, s.Nk, kH * kM}, 2), true);
  const Var v(random_tensor({kB, s.Nk, kH * kDv}, 3), true);
  Var turned_f, turned_g;
  if (s.rotated) {
    turned_f = Var(random_tensor({kB, s.Nq, kH * (kM + 1)}, 4), true);
    turned_g = Var(random_tensor({kB, s.Nk, kH * (kM + 1)}, 5), true);
  }
  const Var out = composed    ? linear_attention_composed(ctx, f, g, turned_f, turned_g, v, s.options)
                  : s.rotated ? linear_attention(ctx, f, g, turned_f, turned_g, v, s.options)
                              : linear_attention(ctx, f, g, v, s.options);
  tape.backward({{out, random_tensor(out.shape(), 6)}});
  std::vector<Tensor> all = {out.value(), f.grad(), g.grad(), v.grad()};
  if (s.rotated) all.insert(all.end(), {turned_f.grad(), turned_g.grad()});
  return all;
}

void expect_all_pairs(const Sizes& s, const char* what) {
  const std::vector<Tensor> got = run(s, false), want = run(s, true), again = run(s, false);
  for (std::size_t x = 0; x < got.size(); ++x) {
    EXPECT_LE(worst_error(got[x].values(), to_double(want[x])), 2e-5)
        << what << ", " << s.Nq << " on " << s.Nk << ", number " << x;
    const auto a = got[x].values(), b = again[x].values();
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin())) << what << ": two runs differ";
  }
}

// Spec: phi(q) = (1, 2), psi(k) = (1, 3), v = (10, 20) give 10 and 140 / 8.
TEST(LinearAttention, CausalExampleByHand) {
  const Var f(Tensor::from({1, 2, 1}, std::vector<float>{1, 2})),
      g(Tensor::from({1, 2, 1}, std::vector<float>{1, 3}));
  const Var v(Tensor::from({1, 2, 1}, std::vector<float>{10, 20}));
  const Tensor out = linear_attention({}, f, g, v, {.causal = true}).value();
  EXPECT_FLOAT_EQ(out[0], 10.0f);
  EXPECT_FLOAT_EQ(out[1], 17.5f);
  const Tensor all = linear_attention({}, f, g, v, {}).value();
  EXPECT_FLOAT_EQ(all[0], 17.5f);
  EXPECT_FLOAT_EQ(all[1], 17.5f);
  // Half as much for each step back: (2 * 1 * 10 / 2 + 2 * 3 * 20) / (1 + 6).
  const Tensor faded = linear_attention({}, f, g, v, {.causal = true, .decay = {0.69314718f}}).value();
  EXPECT_FLOAT_EQ(faded[1], 130.0f / 7.0f);
}

TEST(LinearAttention, BlocksAgreeWithAllPairs) {
  for (const std::int64_t N : {1, 2, 63, 64, 65, 130}) {
    LinearAttentionOptions options{.heads = kH, .eps = 0.1f};
    expect_all_pairs({N, N, false, options}, "all keys");
    expect_all_pairs({N, N / 2 + 1, true, options}, "fewer keys, numerator apart");
    expect_all_pairs({N / 3 + 1, N, false, options}, "fewer queries");
    options.causal = true;
    expect_all_pairs({N, N, false, options}, "causal");
    expect_all_pairs({N, N, true, options}, "causal, numerator apart");
    options.decay = {0.05f, 0.4f};
    expect_all_pairs({N, N, true, options}, "decay");
    options.key_lengths = {N / 2, N};
    expect_all_pairs({N, N, true, options}, "decay, lengths");
    options.decay = {};
    expect_all_pairs({N, N, false, options}, "causal, lengths");
    options.causal = false;
    expect_all_pairs({N, N, false, options}, "lengths");
  }
}

TEST(LinearAttention, ThreadsDoNotMatter) {
  const Sizes s{70, 70, true, {.heads = kH, .causal = true}};
  const int threads = num_threads();
  const std::vector<Tensor> many = run(s, false);
  set_num_threads(1);
  const std::vector<Tensor> one = run(s, false);
  set_num_threads(threads);
  for (std::size_t x = 0; x < one.size(); ++x)
    EXPECT_TRUE(std::equal(one[x].values().begin(), one[x].values().end(), many[x].values().begin())) << x;
}

// Nothing larger than an operand is ever asked for, forward or backward.
TEST(LinearAttention, MakesNoPairs) {
  constexpr std::int64_t kN = 1024, kWidth = 2 * 8;
  for (const bool causal : {false, true}) {
    Pool::global().reset_peak();
    Tape tape;
    const Var f(features({1, kN, kWidth}, 1), true), g(features({1, kN, kWidth}, 2), true);
    const Var v(random_tensor({1, kN, kWidth}, 3), true);
    const Var out = linear_attention({.tape = &tape}, f, g, v, {.heads = 2, .causal = causal});
    tape.backward({{out, random_tensor(out.shape(), 4)}});
    EXPECT_LE(Pool::global().stats().largest_request,
              2 * kN * kWidth * static_cast<std::int64_t>(sizeof(float)));
  }
}

// Not even what padding holds.
TEST(LinearAttention, QueryThatSeesNothingGivesZeros) {
  Tape tape;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Var f(features({1, 3, 2}, 1), true), g(Tensor::full({1, 3, 2}, nan), true);
  const Var v(Tensor::full({1, 3, 2}, nan), true);
  const Var out = linear_attention({.tape = &tape}, f, g, v, {.key_lengths = {0}});
  tape.backward({{out, random_tensor({1, 3, 2}, 2)}});
  for (const Tensor& t : {out.value(), f.grad(), g.grad(), v.grad()})
    for (const float x : t.values()) EXPECT_EQ(x, 0.0f);
}

TEST(LinearAttention, RefusesWhatDoesNotFit) {
  const Var f(Tensor::zeros({1, 3, 4})), g(Tensor::zeros({1, 5, 4})), v(Tensor::zeros({1, 5, 6}));
  const auto message = [&](const Var& f1, const Var& g1, const Var& v1,
                           const LinearAttentionOptions& options) {
    try {
      linear_attention({}, f1, g1, v1, options);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(message(f, g, v, {.heads = 2}), "");
  EXPECT_NE(message(f, g, Var(Tensor::zeros({1, 4, 6})), {.heads = 2}).find("(1, 4, 6)"), std::string::npos);
  EXPECT_NE(message(f, g, v, {.heads = 3}), "");
  EXPECT_NE(message(f, g, v, {.heads = 0}), "");
  EXPECT_NE(message(f, g, v, {.heads = -2}), "");
  EXPECT_NE(message(f, Var(Tensor::zeros({1, 5, 2})), v, {.heads = 2}), "");
  EXPECT_NE(message(f, g, v, {.heads = 2, .causal = true}), "");
  EXPECT_NE(message(f, g, v, {.heads = 2, .key_lengths = {6}}), "");
  EXPECT_NE(message(f, g, v, {.heads = 2, .key_lengths = {-1}}), "");
  EXPECT_NE(message(f, g, v, {.heads = 2, .key_lengths = {1, 1}}), "");
  EXPECT_NE(message(f, g, v, {.heads = 2, .decay = {0.1f, 0.1f}}), "");
  EXPECT_NE(message(g, g, v, {.heads = 2, .causal = true, .decay = {0.1f}}), "");
  EXPECT_NE(message(g, g, v, {.heads = 2, .causal = true, .decay = {0.1f, -1.0f}}), "");
  EXPECT_NE(message(f, g, v, {.heads = 2, .eps = -1.0f}), "");
  EXPECT_THROW(linear_attention({}, f, g, g, g, v, {.heads = 2}), Error);
}

}  // namespace linear_attention_test
}  // namespace locant
