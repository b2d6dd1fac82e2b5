#include "core/finite.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace locant {
namespace finite_test {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Finite, FindsTheFirstWhereverItStands) {
  // Blocks and shares of threads: their first, last and inner numbers, one bad number before another.
  const std::int64_t count = (std::int64_t{1} << 20) + 4097;
  Tensor tensor = Tensor::full({count}, 1.0f);
  EXPECT_EQ(first_not_finite(tensor.values()), -1);
  EXPECT_EQ(not_finite(tensor), "");
  for (const std::int64_t at : {std::int64_t{0}, std::int64_t{1}, std::int64_t{4095}, std::int64_t{4096},
                                std::int64_t{1} << 18, std::int64_t{1} << 20, count - 1}) {
    for (const float value : {std::nanf(""), -std::nanf(""), kInfinity, -kInfinity}) {
      tensor[at] = value;
      tensor[count - 1] = value;
      EXPECT_EQ(first_not_finite(tensor.values()), at);
      tensor[at] = tensor[count - 1] = 1.0f;
    }
  }
}

TEST(Finite, LargestSmallestAndNoNumbersAreFinite) {
  using Limits = std::numeric_limits<float>;
  EXPECT_EQ(not_finite(Tensor::from({6}, std::vector<float>{Limits::max(), Limits::lowest(), Limits::min(),
                                                            Limits::denorm_min(), 0.0f, -0.0f})),
            "");
  EXPECT_EQ(first_not_finite({}), -1);
  EXPECT_EQ(not_finite(Tensor::zeros({2, 0})), "");
}

TEST(Finite, NamesNumberAndPlace) {
  Tensor tensor = Tensor::zeros({2, 3, 4});
  tensor[23] = kInfinity;
  EXPECT_EQ(not_finite(tensor), "inf at (1, 2, 3)");
  tensor[5] = -kInfinity;
  EXPECT_EQ(not_finite(tensor), "-inf at (0, 1, 1)");
  tensor[0] = std::nanf("");
  EXPECT_EQ(not_finite(tensor), "nan at (0, 0, 0)");
}

}  // namespace finite_test
}  // namespace locant
