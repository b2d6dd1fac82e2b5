#include "position/conformer.h"

#include "core/error.h"
#include "tests/position/sine_numbers.h"

namespace locant {
namespace conformer_test {

using testing::mapped;

TEST(Conformer, RowsByHand) {
  // Distances 0 -1 -2 / 1 0 -1 / 2 1 0 in a table from 2 down to -2.
  constexpr int kWant[3][3] = {{2, 3, 4}, {1, 2, 3}, {0, 1, 2}};
  const auto gather = conformer_gather(3, 3);
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) EXPECT_EQ(mapped(*gather, i, j), kWant[i][j]);
}

// Zero column in front, the same memory as (2n, q), first row dropped, read as (q, 2n - 1), n columns kept.
TEST(Conformer, RowsAreThoseOfTheShift) {
  for (std::int64_t Nk = 1; Nk <= 6; ++Nk)
    for (std::int64_t Nq = 1; Nq <= Nk; ++Nq) {
      const std::int64_t R = conformer_rows(Nk);
      std::vector<std::int64_t> padded;
      for (std::int64_t i = 0; i < Nq; ++i) {
        padded.push_back(-1);
        for (std::int64_t t = 0; t < R; ++t) padded.push_back(i * R + t);
      }
      const auto gather = conformer_gather(Nq, Nk);
      for (std::int64_t i = 0; i < Nq; ++i)
        for (std::int64_t j = 0; j < Nk; ++j)
          EXPECT_EQ(i * R + mapped(*gather, i, j), padded.at(static_cast<std::size_t>(Nq + i * R + j)));
    }
}

TEST(Conformer, SinusoidsAreInterleavedAndDescend) {
  const Tensor table = conformer_sinusoids(4, 4);
  ASSERT_EQ(table.shape(), (Shape{7, 4}));
  // Positions 3 down to -3; a negative position turns the sines.
  constexpr float kWant[4][4] = {{0.14112f, -0.98999f, 0.029996f, 0.99955f},
                                 {0.90930f, -0.41615f, 0.019999f, 0.99980f},
                                 {0.84147f, 0.54030f, 0.0099998f, 0.99995f},
                                 {0, 1, 0, 1}};
  for (int t = 0; t < 4; ++t)
    for (int c = 0; c < 4; ++c) {
      EXPECT_NEAR(table[t * 4 + c], kWant[t][c], 1e-5f);
      EXPECT_EQ(table[(6 - t) * 4 + c], c % 2 == 0 ? -table[t * 4 + c] : table[t * 4 + c]);
    }
  EXPECT_THROW(conformer_sinusoids(4, 3), Error);
  EXPECT_THROW(conformer_sinusoids(-4, 4), Error);
}

TEST(Conformer, RefusesWhatDoesNotFit) {
  const Var q(Tensor::zeros({1, 4, 6})), heads(Tensor::zeros({2, 3}));
  const auto add = [&](const Var& u, const Var& v, const Shape& rows) {
    AttentionOptions options;
    options.heads = 2;
    add_conformer({}, u, v, Var(Tensor::zeros(rows)), q, 4, options);
  };
  EXPECT_NO_THROW(add(heads, heads, {7, 2, 3}));
  EXPECT_THROW(add(heads, heads, {4, 2, 3}), Error);
  EXPECT_THROW(add(heads, {}, {7, 2, 3}), Error);
  EXPECT_THROW(add(Var(Tensor::zeros({6})), heads, {7, 2, 3}), Error);
  EXPECT_THROW(conformer_gather(5, 4), Error);
  EXPECT_THROW(conformer_gather(0, 4), Error);
}

}  // namespace conformer_test
}  // namespace locant
