#include "position/swin_v2_cpb.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/position/sine_numbers.h"

namespace locant {
namespace swin_v2_cpb_test {

using testing::sine;

TEST(SwinV2Cpb, CoordinatesOfTheSpec) {
  constexpr double kEight[8] = {0, 0.36651, 0.57207, 0.71561, 0.82602, 0.91574, 0.99133, 1.05664};
  for (int d = 0; d < 8; ++d) {
    EXPECT_NEAR(swin_v2_coordinate(d, 8, 0), kEight[d], 5e-6) << d;
    EXPECT_NEAR(swin_v2_coordinate(-d, 8, 0), -kEight[d], 5e-6) << d;
  }
  EXPECT_NEAR(swin_v2_coordinate(1, 2, 0), 1.05664, 5e-6);
  constexpr double kPretrained[3] = {1.05664, 1.36249, 1.54795};
  for (int d = 1; d < 4; ++d) EXPECT_NEAR(swin_v2_coordinate(d, 4, 2), kPretrained[d - 1], 5e-6) << d;
  EXPECT_NEAR(swin_v2_coordinate(23, 24, 12), 1.38263, 5e-6);
  EXPECT_EQ(swin_v2_coordinate(0, 1, 0), 0.0);
}

// 4 x 6, and 6 x 6 after 4 x 4: rows and columns of the official coordinate tables.
TEST(SwinV2Cpb, CoordinateTable) {
  const Tensor plain = swin_v2_coordinates({4, 6}, {0, 0});
  ASSERT_EQ(plain.shape(), (Shape{1, 7, 11, 2}));
  constexpr float kColumns[6] = {-1.0566417f,   -0.96250844f,  -0.845350981f,
                                 -0.690129757f, -0.459503859f, 0.0f};
  for (int x = 0; x < 11; ++x) {
    EXPECT_FLOAT_EQ(plain[2 * x], -1.0566417f);
    EXPECT_FLOAT_EQ(plain[2 * x + 1], x < 6 ? kColumns[x] : -kColumns[10 - x]);
  }
  EXPECT_FLOAT_EQ(plain[22], -0.88765502f);
  const Tensor wide = swin_v2_coordinates({6, 6}, {4, 4});
  EXPECT_FLOAT_EQ(wide[0], -1.28043401f);
  EXPECT_FLOAT_EQ(wide[3], -1.18144023f);
}

TEST(SwinV2Cpb, TableIsSixteenSigmoids) {
  SwinV2Cpb cpb{.window = {2, 3}};
  cpb.first_weight = sine({5, 2}, 0);
  cpb.first_bias = sine({5}, 1);
  cpb.second_weight = sine({2, 5}, 2);
  const Var logits = swin_v2_cpb_logits({}, cpb, 2);
  const Tensor table = swin_v2_cpb_table({}, cpb, logits).value();
  ASSERT_EQ(table.shape(), (Shape{15, 2}));
  for (std::int64_t n = 0; n < 30; ++n) {
    const double g = logits.value()[n];
    EXPECT_NEAR(table[n], 16 / (1 + std::exp(-g)), 1e-5);
  }
  // Logit 0 where nothing enters: the bias is 8.
  cpb.second_weight = Var(Tensor::zeros({2, 5}));
  for (const float x : swin_v2_cpb_table({}, cpb, swin_v2_cpb_logits({}, cpb, 2)).value().values())
    EXPECT_EQ(x, 8.0f);
}

TEST(SwinV2Cpb, RefusesWhatDoesNotFit) {
  SwinV2Cpb cpb{.window = {2, 2}};
  cpb.first_weight = sine({5, 2}, 0);
  cpb.first_bias = sine({5}, 1);
  cpb.second_weight = sine({2, 4}, 2);
  try {
    swin_v2_cpb_term({}, cpb, 2);
    FAIL() << "a weight of another width was taken";
  } catch (const Error& e) {
    const std::string what = e.what();
    EXPECT_NE(what.find("swin_v2_cpb"), std::string::npos) << what;
    EXPECT_NE(what.find("(2, 4)"), std::string::npos) << what;
    EXPECT_NE(what.find("(2, 5)"), std::string::npos) << what;
  }
  cpb.second_weight = sine({2, 5}, 2);
  EXPECT_NO_THROW(swin_v2_cpb_term({}, cpb, 2));
  EXPECT_THROW(swin_v2_cpb_term({}, cpb, 3), Error);
  cpb.window = {2, 0};
  EXPECT_THROW(swin_v2_cpb_term({}, cpb, 2), Error);
  cpb.window = {2, -3};
  EXPECT_THROW(swin_v2_cpb_term({}, cpb, 2), Error);
  cpb.window = {2, 2};
  cpb.pretrained = {1, 4};  // measures no displacement
  EXPECT_THROW(swin_v2_cpb_term({}, cpb, 2), Error);
  cpb.pretrained = {0, 0};
  EXPECT_THROW(swin_v2_cpb_table({}, cpb, Var(Tensor::zeros({1, 3, 4, 2}))), Error);
  EXPECT_THROW(kSwinV2Cpb.make({.query = {1, 2, 2}, .key = {1, 2, 3}}), Error);
  EXPECT_THROW(kSwinV2Cpb.make({.query = {1, 2, 2}, .key = {1, 2, 2}, .variant = "other"}), Error);
}

}  // namespace swin_v2_cpb_test
}  // namespace locant
