#include "verify/formula.h"

#include <gtest/gtest.h>

#include <bit>

namespace locant {
namespace formula_test {

TEST(Formula, CheckValuesOfTheOracleReadme) {
  EXPECT_EQ(fnv1a64("input"), 0x1ebbae8f5810b65bULL);
  const double input[] = {-0.8043633699417114, -0.705042839050293, 0.14816880226135254};
  const double cotangent[] = {-0.1172405481338501, 0.8349679708480835, 0.4951409101486206};
  const double weight[] = {0.46731603145599365, -0.5070608854293823, -0.7911708354949951};
  for (std::uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(formula_value(fnv1a64("input"), i), input[i]);
    EXPECT_EQ(formula_value(fnv1a64("cotangent"), i), cotangent[i]);
    EXPECT_EQ(formula_value(fnv1a64("blocks.0.attn.qkv.weight"), i), weight[i]);
  }
}

TEST(Formula, TensorsAreRoundedOnce) {
  const Tensor input = formula_tensor({3}, "input", 0.0, 1.7);
  const Tensor norm = formula_tensor({1, 3}, "blocks.0.norm1.weight", 1.0, 0.2);
  const std::uint32_t input_bits[] = {3215918987u, 3214502614u, 1048639316u};
  const std::uint32_t norm_bits[] = {1065457652u, 1064847710u, 1062933878u};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(input[i]), input_bits[i]);
    EXPECT_EQ(std::bit_cast<std::uint32_t>(norm[i]), norm_bits[i]);
  }
}

TEST(Formula, LongTensorsAreTheSameNumbersInEveryThread) {
  const Tensor x = formula_tensor({300, 1000}, "w", 0.5, 2.0);
  for (const std::int64_t i : {0, 65535, 65536, 299999})
    EXPECT_EQ(x[i],
              static_cast<float>(0.5 + 2.0 * formula_value(fnv1a64("w"), static_cast<std::uint64_t>(i))));
}

}  // namespace formula_test
}  // namespace locant
