#include "core/remembered.h"

#include <gtest/gtest.h>

namespace locant {
namespace remembered_test {

TEST(Remembered, KeepsWhatWasSetAndCopiesStartWithout) {
  const Remembered number;
  EXPECT_FALSE(number.get());
  number.set(0);
  EXPECT_EQ(number.get(), 0);
  const Remembered copy = number;
  EXPECT_FALSE(copy.get());
  Remembered other;
  other.set(-3);
  other = number;
  EXPECT_FALSE(other.get());
}

}  // namespace remembered_test
}  // namespace locant
