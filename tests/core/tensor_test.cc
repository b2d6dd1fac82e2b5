#include "core/tensor.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/error.h"

namespace locant {
namespace tensor_test {

TEST(Shape, CountsAndNamesItself) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape.numel(), 24);
  EXPECT_EQ(shape[-1], 4);
  EXPECT_EQ(shape.str(), "(2, 3, 4)");
  EXPECT_EQ(shape.with_last(5), (Shape{2, 3, 5}));
  EXPECT_EQ(Shape{}.numel(), 1);
}

TEST(Shape, RefusesNonsense) {
  EXPECT_THROW(Shape({-1}), Error);
  EXPECT_THROW(Shape({1, 1, 1, 1, 1, 1, 1}), Error);
  EXPECT_THROW(Shape({std::numeric_limits<std::int64_t>::max(), 3}), Error);
  EXPECT_THROW((Shape{1, 2}[2]), Error);
}

TEST(Tensor, SharesStorageUntilCloned) {
  Tensor a = Tensor::full({2, 2}, 1.0f);
  Tensor b = a.reshaped({4});
  b[3] = 7.0f;
  EXPECT_EQ(a[3], 7.0f);
  EXPECT_FALSE(a.unique());
  Tensor c = a.clone();
  c[3] = 9.0f;
  EXPECT_EQ(a[3], 7.0f);
  EXPECT_EQ(a.slice(1, 2)[1], 7.0f);
  EXPECT_THROW(a.slice(1, 3), Error);
  EXPECT_THROW(a.reshaped({5}), Error);
}

TEST(Tensor, BorrowedNumbersAreNeverUnique) {
  const float numbers[2] = {1, 2};
  const Tensor t = Tensor::borrowed({2}, numbers, nullptr);
  EXPECT_FALSE(t.unique());
  EXPECT_EQ(t.data(), numbers);
}

}  // namespace tensor_test
}  // namespace locant
