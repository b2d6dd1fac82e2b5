#include "position/complexity.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace locant {
namespace complexity_test {

TEST(Complexity, SwinStageOneByHand) {
  const LayerShape s{.rows = 56, .columns = 56, .C = 96, .H = 3, .M = 7};
  EXPECT_EQ(complexity(AttentionKind::global, s), 4LL * 3136 * 96 * 96 + 2LL * 3136 * 3136 * 96);
  EXPECT_EQ(complexity(AttentionKind::window, s), 4LL * 3136 * 96 * 96 + 2LL * 49 * 3136 * 96);
  EXPECT_EQ(complexity(AttentionKind::local, s), complexity(AttentionKind::window, s));
  EXPECT_EQ(complexity(AttentionKind::axial, s), 4LL * 3136 * 96 * 96 + 2LL * 3136 * 112 * 96);
  EXPECT_EQ(complexity(AttentionKind::linear, s), 4LL * 3136 * 96 * 96 + 2LL * 3136 * 96 * 32);
}

TEST(Complexity, ReductionByHand) {
  const LayerShape s{.rows = 10, .columns = 13, .C = 6, .H = 2, .R = 4};  // 2 x 3 keys
  EXPECT_EQ(complexity(AttentionKind::spatial_reduction, s),
            2 * 130 * 36 + 2 * 6 * 36 + 6 * 16 * 36 + 2 * 130 * 6 * 6);
  const LayerShape none{.rows = 10, .columns = 13, .C = 6, .H = 2, .R = 1};
  EXPECT_EQ(complexity(AttentionKind::spatial_reduction, none), complexity(AttentionKind::global, none));
}

TEST(Complexity, PartialWindowsCostWholeOnes) {
  const LayerShape s{.rows = 8, .columns = 7, .C = 4, .M = 7};
  EXPECT_EQ(complexity(AttentionKind::window, s), 4 * 56 * 16 + 2 * 49 * (14 * 7) * 4);
}

TEST(Complexity, OneWindowIsGlobal) {
  const LayerShape s{.rows = 7, .columns = 7, .C = 32, .M = 7};
  EXPECT_EQ(complexity(AttentionKind::window, s), complexity(AttentionKind::global, s));
}

TEST(Complexity, Errors) {
  EXPECT_THROW(complexity(AttentionKind::global, {.rows = 0}), Error);
  EXPECT_THROW(complexity(AttentionKind::global, {.C = 10, .H = 3}), Error);
  EXPECT_THROW(complexity(AttentionKind::window, {.M = -1}), Error);
  EXPECT_THROW(complexity(AttentionKind::global, {.rows = 1 << 23, .columns = 1 << 23, .C = 1 << 20}), Error);
  EXPECT_THROW(complexity(AttentionKind::global, {.rows = std::int64_t{1} << 40}), Error);
}

}  // namespace complexity_test
}  // namespace locant
