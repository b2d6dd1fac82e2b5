#include "position/natten.h"

#include <set>

#include "core/error.h"
#include "tests/position/sine_numbers.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace natten_test {

using testing::rows_by_map;
using testing::sine;

static_assert(natten_start(0, 5, 3, 1) == 0 && natten_start(4, 5, 3, 1) == 2);

TEST(Natten, WindowsOfTheSpec) {
  const struct {
    std::int64_t L, K, d;
    std::vector<std::int64_t> start, bias;
  } kGolden[] = {{5, 3, 1, {0, 0, 1, 2, 2}, {2, 1, 1, 1, 0}},
                 {7, 5, 1, {0, 0, 0, 1, 2, 2, 2}, {4, 3, 2, 2, 2, 1, 0}},
                 {7, 3, 2, {0, 1, 0, 1, 2, 1, 2}, {2, 2, 1, 1, 1, 0, 0}},
                 {8, 3, 2, {0, 1, 0, 1, 2, 3, 2, 3}, {2, 2, 1, 1, 1, 1, 0, 0}}};
  for (const auto& g : kGolden)
    for (std::int64_t i = 0; i < g.L; ++i) {
      EXPECT_EQ(natten_start(i, g.L, g.K, g.d), g.start[static_cast<std::size_t>(i)]) << g.L << " " << i;
      EXPECT_EQ(natten_bias_start(i, g.L, g.K, g.d), g.bias[static_cast<std::size_t>(i)]) << g.L << " " << i;
    }
}

// The rule in the spec's words against "the K nearest of its residue, kept inside".
TEST(Natten, WindowsAreTheNearestOfTheirResidue) {
  for (const std::int64_t K : {1, 3, 5, 7})
    for (const std::int64_t d : {1, 2, 3, 4})
      for (std::int64_t L = K * d; L < K * d + 9; ++L)
        for (std::int64_t i = 0; i < L; ++i) {
          const std::int64_t residue = i % d, n = (L - residue - 1) / d + 1;
          const std::int64_t first = std::clamp<std::int64_t>(i / d - K / 2, 0, n - K);
          EXPECT_EQ(natten_start(i, L, K, d), residue + first * d) << L << " " << K << " " << d << " " << i;
          const std::int64_t half = K / 2, bias = natten_bias_start(i, L, K, d);
          if (i < half * d)
            EXPECT_EQ(bias, K - 1 - i / d);
          else if (i + half * d >= L)
            EXPECT_EQ(bias, (L - i - 1) / d);
          else
            EXPECT_EQ(bias, half);
        }
}

// Every query stands in one slot, its box shows exactly the places of its window, each reads its own number.
TEST(Natten, MapsShowEveryQueryItsWindow) {
  struct Case {
    Window grid;
    std::int64_t K, d, block;
  };
  for (const Case& c : {Case{{3, 3}, 3, 1, 8}, Case{{4, 3}, 3, 1, 1}, Case{{5, 9}, 3, 1, 2},
                        Case{{9, 8}, 5, 1, 3}, Case{{14, 20}, 7, 1, 8}, Case{{7, 8}, 3, 2, 2},
                        Case{{11, 13}, 3, 3, 8}, Case{{16, 15}, 5, 3, 3}, Case{{6, 5}, 1, 1, 2}}) {
    const NattenMaps maps = natten_maps(c.grid, c.K, c.d, c.block);
    const RowMaps& rows = *maps.rows;
    const auto table_rows = rows_by_map(*maps.gather);
    std::set<std::int32_t> met;
    for (std::int64_t slot = 0; slot < rows.groups * rows.queries; ++slot) {
      const std::int32_t token = rows.query_rows[static_cast<std::size_t>(slot)];
      if (token < 0) continue;
      EXPECT_TRUE(met.insert(token).second) << token << " stands twice";
      const std::int32_t* box = rows.query_box.data() + 4 * slot;
      ASSERT_EQ(box[1] - box[0], c.K);
      ASSERT_EQ(box[3] - box[2], c.K);
      const std::int64_t y = token / c.grid.columns, x = token % c.grid.columns;
      const std::int64_t top = natten_start(y, c.grid.rows, c.K, c.d),
                         left = natten_start(x, c.grid.columns, c.K, c.d);
      for (std::int64_t n = 0; n < c.K * c.K; ++n) {
        const std::int64_t key = (box[0] + n / c.K) * rows.box_columns + box[2] + n % c.K;
        ASSERT_GE(key, 0);
        ASSERT_LT(key, rows.keys);
        EXPECT_EQ(rows.key_rows[static_cast<std::size_t>(slot / rows.queries * rows.keys + key)],
                  (top + n / c.K * c.d) * c.grid.columns + left + n % c.K * c.d);
        const std::int64_t down = natten_bias_start(y, c.grid.rows, c.K, c.d) + n / c.K;
        const std::int64_t across = natten_bias_start(x, c.grid.columns, c.K, c.d) + n % c.K;
        EXPECT_EQ(table_rows[static_cast<std::size_t>(slot % rows.queries * rows.keys + key)],
                  down * (2 * c.K - 1) + across);
      }
    }
    EXPECT_EQ(static_cast<std::int64_t>(met.size()), c.grid.tokens());
  }
}

// A block of 8 x 8 queries meets 14 x 14 keys, not 20 x 20: memory and work are linear in the tokens.
TEST(Natten, HalosAreHalfAWindow) {
  const NattenMaps maps = natten_maps({56, 56}, 7, 1);
  EXPECT_EQ(maps.rows->groups, 49);
  EXPECT_EQ(maps.rows->queries, 64);
  EXPECT_EQ(maps.rows->keys, 14 * 14);
}

// The spec's golden: one head of width 4 on 4 x 3, K 3.
TEST(Natten, GoldenOfTheSpec) {
  constexpr double kWant[4][4] = {{-0.062573, 0.081363, 0.106102, -0.024599},
                                  {-0.099431, 0.082006, 0.143305, -0.005339},
                                  {-0.028888, 0.096543, 0.080539, -0.053455},
                                  {0.146013, 0.016448, -0.137214, -0.089857}};
  constexpr std::int64_t kRows[4] = {0, 1, 5, 11};
  for (const std::int64_t block : {2, 8}) {
    AttentionOptions options;
    add_natten({}, {3, 1, sine({1, 5, 5}, 3)}, natten_maps({4, 3}, 3, 1, block), options);
    const Tensor out =
        attention({}, sine({1, 12, 4}, 0), sine({1, 12, 4}, 1), sine({1, 12, 4}, 2), options).value();
    for (int r = 0; r < 4; ++r)
      for (int d = 0; d < 4; ++d) EXPECT_NEAR(out[kRows[r] * 4 + d], kWant[r][d], 1e-6) << r << " " << d;
  }
}

// A grid of several blocks with the models' window: the same by one block as by many, and by the composed
// path.
TEST(Natten, BlocksDoNotMatter) {
  const Window grid{17, 19};
  const Var q(testing::random_tensor({1, grid.tokens(), 8}, 1)),
      k(testing::random_tensor({1, grid.tokens(), 8}, 2)),
      v(testing::random_tensor({1, grid.tokens(), 8}, 3));
  const Natten natten{7, 2, Var(testing::random_tensor({2, 13, 13}, 4))};
  std::vector<double> first;
  for (const std::int64_t block : {256, 4, 8}) {
    AttentionOptions options;
    options.heads = 2;
    add_natten({}, natten, natten_maps(grid, 7, 2, block), options);
    if (first.empty()) first = testing::to_double(attention_composed({}, q, k, v, options).value());
    testing::expect_close(attention({}, q, k, v, options).value(), first, 2e-6, "blocks");
  }
}

TEST(Natten, RefusesWhatDoesNotFit) {
  EXPECT_THROW(natten_maps({5, 5}, 4, 1), Error);
  EXPECT_THROW(natten_maps({5, 5}, -3, 1), Error);
  EXPECT_THROW(natten_maps({5, 5}, 3, 0), Error);
  EXPECT_THROW(natten_maps({5, 5}, 3, 2), Error);  // wants 6 places
  EXPECT_THROW(natten_maps({5, 0}, 1, 1), Error);
  EXPECT_THROW(natten_maps({5, 5}, 3, 1, 0), Error);
  EXPECT_THROW(natten_maps({1 << 20, 1 << 20}, 3, 1), Error);
  EXPECT_THROW(natten_maps({1 << 14, 1 << 14}, 3, 1), Error);  // sides that fit, too many tokens
  AttentionOptions options;
  options.heads = 2;
  EXPECT_THROW(add_natten({}, {3, 1, sine({2, 3, 3}, 0)}, natten_maps({4, 4}, 3, 1), options), Error);
  EXPECT_THROW(add_natten({}, {3, 1, sine({1, 5, 5}, 0)}, natten_maps({4, 4}, 3, 1), options), Error);
  EXPECT_NO_THROW(add_natten({}, {3, 1, Var()}, natten_maps({4, 4}, 3, 1), options));
  EXPECT_TRUE(options.terms.empty());
}

}  // namespace natten_test
}  // namespace locant
