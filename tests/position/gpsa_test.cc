#include "position/gpsa.h"

#include "core/error.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace gpsa_test {

using testing::random_tensor;

Gpsa random_gpsa(std::int64_t heads) {
  return {Var(random_tensor({heads, 3}, 11, 0.5f), true), Var(random_tensor({heads}, 12), true),
          Var(random_tensor({heads}, 13), true)};
}

// Spec: channel 0 columns, channel 1 rows, channel 2 their squares; key minus query.
TEST(Gpsa, OffsetsOfTwoByTwoByHand) {
  constexpr int kChannels[3][4][4] = {{{0, 1, 0, 1}, {-1, 0, -1, 0}, {0, 1, 0, 1}, {-1, 0, -1, 0}},
                                      {{0, 0, 1, 1}, {0, 0, 1, 1}, {-1, -1, 0, 0}, {-1, -1, 0, 0}},
                                      {{0, 1, 1, 2}, {1, 0, 2, 1}, {1, 2, 0, 1}, {2, 1, 1, 0}}};
  for (int channel = 0; channel < 3; ++channel) {
    double w[3] = {0, 0, 0};
    w[channel] = 1;
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j)
        EXPECT_EQ(gpsa_score(w, 0.0, j % 2 - i % 2, j / 2 - i / 2), kChannels[channel][i][j]);
  }
}

// Spec: four heads look at the corners of a square, nine at all pairs of -2, 0, 2 with rows fastest.
TEST(Gpsa, LocalStartOfFourAndNineHeads) {
  const Tensor four = gpsa_local_weight(Tensor::zeros({4, 3}));
  constexpr float kFour[4][3] = {{-1, -1, -1}, {-1, 1, -1}, {1, -1, -1}, {1, 1, -1}};
  for (int x = 0; x < 12; ++x) EXPECT_EQ(four[x], kFour[x / 3][x % 3]);
  const Tensor nine = gpsa_local_weight(Tensor::zeros({9, 3}), 2.0);
  for (int n = 0; n < 9; ++n) {
    EXPECT_EQ(nine[n * 3], 2.0f * static_cast<float>(2 * (n / 3) - 2));
    EXPECT_EQ(nine[n * 3 + 1], 2.0f * static_cast<float>(2 * (n % 3) - 2));
    EXPECT_EQ(nine[n * 3 + 2], -2.0f);
  }
  // Heads beyond the square keep their own start, times the strength.
  const Tensor five = gpsa_local_weight(Tensor::full({5, 3}, 0.25f), 3.0);
  for (int x = 0; x < 12; ++x) EXPECT_EQ(five[x], 3.0f * kFour[x / 3][x % 3]);
  for (int x = 12; x < 15; ++x) EXPECT_EQ(five[x], 0.75f);
  EXPECT_EQ(gpsa_kernel(1), 1);
  EXPECT_EQ(gpsa_kernel(8), 2);
  EXPECT_EQ(gpsa_kernel(16), 4);
}

// A strong local head reads exactly its neighbour.
TEST(Gpsa, StrongLocalHeadReadsOneOffset) {
  constexpr std::int64_t kRows = 4, kColumns = 5, kN = kRows * kColumns, kH = 9;
  const Gpsa gpsa{Var(gpsa_local_weight(Tensor::zeros({kH, 3}), 40.0)), {}, Var(Tensor::zeros({kH}))};
  Tensor v({1, kN, kH});
  for (std::int64_t x = 0; x < v.numel(); ++x) v[x] = static_cast<float>(x / kH);  // its token
  const Grid grid{1, kRows, kColumns};
  const Tensor out = gpsa_positional({}, gpsa, grid, grid, Var(v)).value();
  for (std::int64_t y = 1; y + 1 < kRows; ++y)
    for (std::int64_t x = 1; x + 1 < kColumns; ++x)
      for (std::int64_t h = 0; h < kH; ++h)
        EXPECT_NEAR(out[(y * kColumns + x) * kH + h],
                    static_cast<float>((y + h % 3 - 1) * kColumns + x + h / 3 - 1), 1e-4f);
}

TEST(Gpsa, BiasDoesNotActAndHasZeroGradient) {
  constexpr std::int64_t kN = 6, kH = 2, kD = 3;
  const Grid grid{1, 2, 3};
  const Gpsa gpsa = random_gpsa(kH);
  const Var q(random_tensor({1, kN, kH * kD}, 1), true), k(random_tensor({1, kN, kH * kD}, 2), true),
      v(random_tensor({1, kN, kH * kD}, 3), true);
  AttentionOptions content;
  content.heads = kH;
  Tape tape;
  const Var out = gpsa_attention({.tape = &tape}, gpsa, grid, grid, q, k, v, content);
  tape.backward({{out, random_tensor({1, kN, kH * kD}, 4)}});
  ASSERT_TRUE(gpsa.bias.grad().defined());
  for (const float x : gpsa.bias.grad().values()) EXPECT_EQ(x, 0.0f);
  Gpsa bare = gpsa;
  bare.bias = {};
  const Tensor other = gpsa_attention({}, bare, grid, grid, q, k, v, content).value();
  EXPECT_TRUE(std::equal(other.values().begin(), other.values().end(), out.value().values().begin()));
}

TEST(Gpsa, RowsAreWhatTheAttentionSums) {
  const Grid query{1, 3, 2}, key{1, 2, 4};
  constexpr std::int64_t kB = 2, kH = 2, kD = 3, kDv = 2;
  const Gpsa gpsa = random_gpsa(kH);
  const Tensor q = random_tensor({kB, 6, kH * kD}, 1, 2.0f), k = random_tensor({kB, 8, kH * kD}, 2, 2.0f),
               v = random_tensor({kB, 8, kH * kDv}, 3);
  AttentionOptions content;
  content.heads = kH;
  const Tensor out = gpsa_attention({}, gpsa, query, key, Var(q), Var(k), Var(v), content).value();
  const Tensor distance = gpsa_attention_distance(gpsa, query, key, q, k);
  for (std::int64_t h = 0; h < kH; ++h) {
    double sum = 0;
    for (std::int64_t x = 0; x < kB * 6; ++x) {
      float row[8];
      gpsa_row(gpsa, query, key, q, k, std::nullopt, x / 6, h, x % 6, row);
      double total = 0, value = 0;
      for (std::int64_t j = 0; j < 8; ++j) {
        const double p = static_cast<double>(row[j]);
        total += p;
        value += p * static_cast<double>(v[((x / 6 * 8 + j) * kH + h) * kDv]);
        sum += p * std::hypot(j % 4 - x % 2, j / 4 - x % 6 / 2);
      }
      EXPECT_NEAR(total, 1.0, 1e-6);
      EXPECT_NEAR(out[(x * kH + h) * kDv], value, 1e-5);
    }
    EXPECT_NEAR(distance[h], sum / (kB * 6), 1e-5);
  }
}

// Everything on the query itself: distance 0. Everything alike: the mean distance of the grid.
TEST(Gpsa, AttentionDistanceOfKnownMaps) {
  const Grid grid{1, 2, 2};
  const Tensor none = Tensor::zeros({1, 4, 1});
  Gpsa gpsa{Var(Tensor::from({1, 3}, std::vector<float>{0, 0, -200})), {}, Var(Tensor::full({1}, 60.0f))};
  EXPECT_NEAR(gpsa_attention_distance(gpsa, grid, grid, none, none)[0], 0.0f, 1e-6f);
  gpsa.gate = Var(Tensor::full({1}, -60.0f));
  EXPECT_NEAR(gpsa_attention_distance(gpsa, grid, grid, none, none)[0], (2 + std::sqrt(2.0f)) / 4, 1e-6f);
}

TEST(Gpsa, RefusesWhatDoesNotFit) {
  const Var v(Tensor::zeros({1, 6, 4}));
  const Grid grid{1, 2, 3};
  const auto run = [&](const Tensor& weight, const Tensor& bias, const Tensor& gate, Grid key) {
    gpsa_positional({}, {Var(weight), Var(bias), Var(gate)}, grid, key, v);
  };
  const Tensor w = Tensor::zeros({2, 3}), b = Tensor::zeros({2});
  EXPECT_NO_THROW(run(w, b, b, grid));
  EXPECT_THROW(run(Tensor::zeros({2, 2}), b, b, grid), Error);
  EXPECT_THROW(run(Tensor::zeros({3, 3}), b, b, grid), Error);
  EXPECT_THROW(run(w, Tensor::zeros({3}), b, grid), Error);
  EXPECT_THROW(run(w, b, Tensor::zeros({2, 1}), grid), Error);
  EXPECT_THROW(run(w, b, b, {1, 2, 2}), Error);
  EXPECT_THROW(run(w, b, b, {1, -2, -3}), Error);
  EXPECT_THROW(run(w, b, b, {2, 3, 1}), Error);
  EXPECT_THROW(gpsa_local_weight(Tensor::zeros({4, 2})), Error);
  try {
    run(Tensor::zeros({3, 3}), b, b, grid);
  } catch (const Error& e) {
    for (const char* text : {"gpsa", "(3, 3)", "(2, 3)"})
      EXPECT_NE(std::string(e.what()).find(text), std::string::npos) << e.what();
  }
}

}  // namespace gpsa_test
}  // namespace locant
