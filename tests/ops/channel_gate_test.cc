#include "ops/channel_gate.h"

#include <cmath>

#include "core/error.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace channel_gate_test {

using testing::at;
using testing::expect_op;
using testing::random_tensor;

template <class T>
T gate_of(Gate gate, const T& v) {
  if (gate == Gate::sigmoid) return 1.0 / (1.0 + std::exp(-v));
  if (std::real(v) <= -3) return 0;
  return std::real(v) >= 3 ? T(1) : (v + 3.0) / 6.0;
}

// Means over the pixels, (B C).
template <class T>
std::vector<T> means_of(const std::vector<T>& x, std::int64_t pixels) {
  std::vector<T> means(x.size() / at(pixels));
  for (std::size_t i = 0; i < x.size(); ++i) means[i / at(pixels)] += x[i] / static_cast<double>(pixels);
  return means;
}

TEST(SqueezeExcite, ResultAndGradients) {
  struct Case {
    std::int64_t B, C, H, W, R;
  };
  for (const Case& c : {Case{1, 1, 1, 1, 1}, {2, 6, 3, 5, 2}, {3, 17, 2, 1, 4}})
    for (const Gate gate : {Gate::sigmoid, Gate::hard_sigmoid})
      for (const bool images : {false, true})  // weights of 1 x 1 convolutions
        for (const bool biases : {false, true}) {
          const Shape reduce = images ? Shape{c.R, c.C, 1, 1} : Shape{c.R, c.C},
                      expand = images ? Shape{c.C, c.R, 1, 1} : Shape{c.C, c.R};
          std::vector<Tensor> inputs = {random_tensor({c.B, c.C, c.H, c.W}, 1, 2.0f),
                                        random_tensor(reduce, 2), random_tensor(expand, 3, 4.0f)};
          if (biases) {
            inputs.push_back(random_tensor({c.R}, 4));
            inputs.push_back(random_tensor({c.C}, 5, 4.0f));
          } else {
            inputs[0].fill(0.7f);
            inputs[1].fill(0.4f);  // some way through relu in the smallest case too
            for (std::int64_t i = 0; i < inputs[0].numel(); i += 2) inputs[0][i] = -0.2f;
            if (inputs[0].numel() == 1) inputs[0][0] = 0.6f;
            for (std::int64_t i = 0; i < inputs[1].numel(); i += 3) inputs[1][i] = 0.9f;
          }
          expect_op(
              biases ? "biases" : "no biases", inputs,
              [&](const Context& ctx, const auto& v) {
                return squeeze_excite(ctx, v[0], v[1], biases ? v[3] : Var(), v[2], biases ? v[4] : Var(),
                                      gate);
              },
              [&](const auto& in) {
                using T = typename std::decay_t<decltype(in[0])>::value_type;
                const std::int64_t pixels = c.H * c.W;
                const auto means = means_of(in[0], pixels);
                auto y = in[0];
                for (std::int64_t b = 0; b < c.B; ++b) {
                  std::vector<T> hidden(at(c.R));
                  for (std::int64_t r = 0; r < c.R; ++r) {
                    if (biases) hidden[at(r)] = in[3][at(r)];
                    for (std::int64_t n = 0; n < c.C; ++n)
                      hidden[at(r)] += in[1][at(r * c.C + n)] * means[at(b * c.C + n)];
                    if (std::real(hidden[at(r)]) < 0) hidden[at(r)] = 0;
                  }
                  for (std::int64_t n = 0; n < c.C; ++n) {
                    T score = biases ? in[4][at(n)] : T(0);
                    for (std::int64_t r = 0; r < c.R; ++r) score += in[2][at(n * c.R + r)] * hidden[at(r)];
                    for (std::int64_t p = 0; p < pixels; ++p)
                      y[at((b * c.C + n) * pixels + p)] *= gate_of(gate, score);
                  }
                }
                return y;
              });
        }
}

TEST(EfficientChannelAttention, ResultAndGradients) {
  struct Case {
    std::int64_t B, C, H, W, k;
  };
  for (const Case& c :
       {Case{1, 1, 1, 1, 1}, {2, 6, 3, 5, 3}, {1, 17, 1, 2, 5}, {2, 2, 2, 2, 7}, {1, 5, 2, 3, 1}})
    for (const Gate gate : {Gate::sigmoid, Gate::hard_sigmoid})
      expect_op(
          gate == Gate::sigmoid ? "sigmoid" : "hard sigmoid",
          {random_tensor({c.B, c.C, c.H, c.W}, 1, 2.0f), random_tensor({1, 1, c.k}, 2, 3.0f)},
          [&](const Context& ctx, const auto& v) {
            return efficient_channel_attention(ctx, v[0], v[1], gate);
          },
          [&](const auto& in) {
            using T = typename std::decay_t<decltype(in[0])>::value_type;
            const std::int64_t pixels = c.H * c.W;
            const auto means = means_of(in[0], pixels);
            auto y = in[0];
            for (std::int64_t b = 0; b < c.B; ++b)
              for (std::int64_t n = 0; n < c.C; ++n) {
                T score = 0;
                for (std::int64_t t = 0; t < c.k; ++t) {
                  const std::int64_t from = n + t - c.k / 2;
                  if (from >= 0 && from < c.C) score += in[1][at(t)] * means[at(b * c.C + from)];
                }
                for (std::int64_t p = 0; p < pixels; ++p)
                  y[at((b * c.C + n) * pixels + p)] *= gate_of(gate, score);
              }
            return y;
          });
}

// Scores far out: the hard gate is exactly shut or open, and lets no gradient through to the kernel.
TEST(EfficientChannelAttention, HardGateSaturates) {
  for (const float score : {-4.0f, 4.0f}) {
    Tape tape;
    const Var x(Tensor::full({1, 1, 2, 2}, 1.0f), true), kernel(Tensor::full({1, 1, 1}, score), true);
    const Var y = efficient_channel_attention({.tape = &tape}, x, kernel, Gate::hard_sigmoid);
    tape.backward({{y, Tensor::full(y.shape(), 1.0f)}});
    for (const float v : y.value().values()) EXPECT_EQ(v, score > 0 ? 1.0f : 0.0f);
    EXPECT_EQ(kernel.grad()[0], 0.0f);
  }
}

TEST(ChannelGate, SameBitsForAnyThreads) {
  testing::expect_same_for_threads("eca", {random_tensor({2, 17, 9, 11}, 1), random_tensor({1, 1, 3}, 2)},
                                   [](const Context& ctx, const auto& v) {
                                     return efficient_channel_attention(ctx, v[0], v[1], Gate::sigmoid);
                                   });
  testing::expect_same_for_threads(
      "se", {random_tensor({2, 17, 9, 11}, 1), random_tensor({4, 17}, 2), random_tensor({17, 4}, 3)},
      [](const Context& ctx, const auto& v) {
        return squeeze_excite(ctx, v[0], v[1], {}, v[2], {}, Gate::hard_sigmoid);
      });
}

TEST(ChannelGate, BadInputsAreErrors) {
  const Var x(Tensor::zeros({2, 6, 3, 3})), reduce(Tensor::zeros({2, 6})), expand(Tensor::zeros({6, 2}));
  const auto bad = [](const Var& from, const Var& first, const Var& bias, const Var& second,
                      const Var& other) {
    EXPECT_THROW(squeeze_excite({}, from, first, bias, second, other, Gate::sigmoid), Error);
  };
  bad(Var(Tensor::zeros({6, 3, 3})), reduce, {}, expand, {});
  bad(x, Var(Tensor::zeros({2, 5})), {}, expand, {});
  bad(x, reduce, {}, Var(Tensor::zeros({2, 6})), {});  // not transposed
  bad(x, reduce, {}, Var(Tensor::zeros({6, 3})), {});
  bad(x, reduce, Var(Tensor::zeros({6})), expand, {});
  bad(x, reduce, {}, expand, Var(Tensor::zeros({2})));
  bad(x, {}, {}, expand, {});
  bad(x, Var(Tensor::zeros({})), {}, expand, {});
  bad(Var(Tensor::zeros({2, 6, 0, 3})), reduce, {}, expand, {});
  const auto eca = [&](const Var& from, const Shape& kernel) {
    EXPECT_THROW(efficient_channel_attention({}, from, Var(Tensor::zeros(kernel)), Gate::sigmoid), Error);
  };
  eca(Var(Tensor::zeros({6, 3, 3})), {1, 1, 3});
  eca(x, {3});
  eca(x, {1, 1, 4});
  eca(x, {6, 1, 3});
}

}  // namespace channel_gate_test
}  // namespace locant
