#include "core/error.h"
#include "position/catalogue/all.h"
#include "position/conv_ff.h"
#include "position/conv_projection.h"
#include "position/global_subsampled.h"
#include "position/peg.h"
#include "position/spatial_reduction.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace conv_tokens_test {

using testing::random_tensor;

Var ones(const Shape& shape) { return Var(Tensor::full(shape, 1.0f)); }
Var zeros(const Shape& shape) { return Var(Tensor::zeros(shape)); }

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

// Of ones, a kernel of ones counts the neighbours: corners have four, borders six. That is what tells a token
// where it is.
TEST(Peg, CountsNeighboursOnThreeByThree) {
  constexpr float kWant[9] = {4, 6, 4, 6, 9, 6, 4, 6, 4};
  Peg p{ones({2, 1, 3, 3}), zeros({2}), 1, false};
  const Tensor plain = peg({}, p, ones({1, 9, 2}), {1, 3, 3}).value();
  p.residual = true;
  const Tensor added = peg({}, p, ones({1, 9, 2}), {1, 3, 3}).value();
  for (std::int64_t x = 0; x < 18; ++x) {
    EXPECT_EQ(plain[x], kWant[x / 2]);
    EXPECT_EQ(added[x], kWant[x / 2] + 1);
  }
}

TEST(Peg, PicturesByHand) {
  const Tensor counts = kPeg.picture({.query = {1, 2, 3}, .key = {1, 2, 3}});
  constexpr float kCounts[6] = {4, 6, 4, 4, 6, 4};
  const EncodingCase odd{.query = {1, 3, 5}, .key = {1, 3, 5}};
  const Tensor windows = kSpatialReduction.picture(odd);
  constexpr float kWindows[15] = {0, 0, 1, 1, -1, 0, 0, 1, 1, -1, -1, -1, -1, -1, -1};
  const Tensor keys = kConvProjection.picture(odd);
  constexpr float kKeys[15] = {1, 2, 1, 2, 1, 2, 4, 2, 4, 2, 1, 2, 1, 2, 1};
  for (std::int64_t n = 0; n < 6; ++n) EXPECT_EQ(counts[n], kCounts[n]);
  for (std::int64_t n = 0; n < 15; ++n) {
    EXPECT_EQ(windows[n], kWindows[n]);
    EXPECT_EQ(keys[n], kKeys[n]);
  }
}

TEST(Peg, PrefixPassesBy) {
  const Var tokens(random_tensor({2, 2 + 6, 3}, 1));
  const Peg p{Var(random_tensor({3, 1, 3, 3}, 2)), Var(random_tensor({3}, 3)), 1, true};
  const Tensor out = peg({}, p, tokens, {1, 2, 3}, 2).value();
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t x = 0; x < 6; ++x) EXPECT_EQ(out[b * 24 + x], tokens.value()[b * 24 + x]);
  const Tensor alone = peg({}, p, select_rows({}, tokens, 2, 8), {1, 2, 3}).value();
  for (std::int64_t x = 0; x < 18; ++x) EXPECT_EQ(out[6 + x], alone[x]);
  // In attention they get nothing.
  const Tensor added = peg_in_attention({}, p, zeros({2, 8, 3}), tokens, {1, 2, 3}, 2).value();
  for (std::int64_t x = 0; x < 24; ++x) EXPECT_EQ(added[x], x < 6 ? 0.0f : out[x]);
}

TEST(Peg, StrideHalves) {
  EXPECT_EQ(peg_extent(1, 2), 1);
  EXPECT_EQ(peg_extent(5, 2), 3);
  EXPECT_EQ(peg_extent(6, 2), 3);
  EXPECT_EQ(peg_extent(7, 3), 3);
  const Peg p{ones({1, 1, 3, 3}), zeros({1}), 2, false};
  EXPECT_EQ(peg({}, p, ones({1, 60, 1}), {1, 6, 10}).shape(), Shape({1, 15, 1}));
}

TEST(Peg, RefusesWhatDoesNotFit) {
  const Peg good{ones({2, 1, 3, 3}), zeros({2}), 1, true};
  const std::string grid = message_of([&] { peg({}, good, zeros({1, 7, 2}), {1, 2, 3}); });
  EXPECT_NE(grid.find("[peg]"), std::string::npos);
  EXPECT_NE(grid.find("(1, 7, 2)"), std::string::npos);
  const std::string weight = message_of([&] { peg({}, good, zeros({1, 6, 3}), {1, 2, 3}); });
  EXPECT_NE(weight.find("(2, 1, 3, 3)"), std::string::npos);
  EXPECT_NE(weight.find("(3, 1, k, k)"), std::string::npos);
  EXPECT_THROW(peg({}, good, zeros({1, 6, 2}), {1, -2, -3}), Error);
  EXPECT_THROW(peg({}, good, zeros({1, 6, 2}), {1, 2, 3}, -1), Error);
  Peg bad = good;
  bad.stride = 2;
  EXPECT_THROW(peg({}, bad, zeros({1, 6, 2}), {1, 2, 3}), Error);
  bad = {ones({2, 1, 2, 2}), zeros({2}), 1, true};
  EXPECT_THROW(peg({}, bad, zeros({1, 6, 2}), {1, 2, 3}), Error);
}

TEST(SpatialReduction, LeavesOutWhatTheRatioDoesNotDivide) {
  EXPECT_EQ(reduced_grid({1, 8, 10}, 3).rows, 2);
  EXPECT_EQ(reduced_grid({1, 8, 10}, 3).columns, 3);
  const SpatialReduction sr{ones({1, 1, 3, 3}), zeros({1}), ones({1}), zeros({1})};
  Tensor x({1, 80, 1});
  for (std::int64_t n = 0; n < 80; ++n) x[n] = static_cast<float>(n);
  const Tensor y = reduced_images({}, sr, Var(x), {1, 8, 10}).value();
  ASSERT_EQ(y.shape(), Shape({1, 1, 2, 3}));
  for (std::int64_t n = 0; n < 6; ++n)  // nine times the token in the middle
    EXPECT_EQ(y[n], 9.0f * static_cast<float>((n / 3 * 3 + 1) * 10 + n % 3 * 3 + 1));
  EXPECT_THROW(reduced_images({}, sr, Var(x), {1, 2, 40}), Error);
  EXPECT_THROW(reduced_images({}, sr, Var(x), {1, 8, 9}), Error);
  EXPECT_NE(message_of([&] {
              reduced_images({}, sr, zeros({1, 80, 2}), {1, 8, 10});
            }).find("(2, 2, k, k)"),
            std::string::npos);
}

// A convolution by one window is PVT's; the mean is one with equal weights.
TEST(GlobalSubsampled, AgreesWithSpatialReduction) {
  const Var x(random_tensor({2, 20, 3}, 1)), weight(random_tensor({3, 3, 2, 2}, 2)),
      bias(random_tensor({3}, 3));
  const SpatialReduction sr{weight, bias, ones({3}), zeros({3})};
  GlobalSubsampled gsa{.window_rows = 2, .window_columns = 2, .weight = weight, .bias = bias};
  gsa.norm_weight = ones({3}), gsa.norm_bias = zeros({3});
  const Tensor a = reduced_tokens({}, sr, reduced_images({}, sr, x, {1, 4, 5})).value();
  const Tensor b = subsampled_tokens({}, gsa, x, {1, 4, 5}).value();
  ASSERT_EQ(b.shape(), Shape({2, 4, 3}));
  EXPECT_LE(testing::worst_error(b.values(), testing::to_double(a)), 1e-5);
  gsa.by = Subsampling::depthwise;
  EXPECT_THROW(subsampled_tokens({}, gsa, x, {1, 4, 5}), Error);
  gsa.weight = Var(Tensor::full({3, 1, 2, 2}, 0.25f)), gsa.bias = zeros({3});
  const Tensor c = subsampled_tokens({}, gsa, x, {1, 4, 5}).value();
  gsa.by = Subsampling::mean;
  const Tensor d = subsampled_tokens({}, gsa, x, {1, 4, 5}).value();
  EXPECT_LE(testing::worst_error(d.values(), testing::to_double(c)), 1e-5);
  gsa.window_rows = 5;
  EXPECT_THROW(subsampled_tokens({}, gsa, x, {1, 4, 5}), Error);
  gsa.window_rows = 0;
  EXPECT_THROW(subsampled_tokens({}, gsa, x, {1, 4, 5}), Error);
}

// PyTorch's AvgPool2d(3, 2, 1, ceil_mode=True) of ones: zeros at the front count, what hangs over the zeros
// behind the end does not.
TEST(ConvProjection, MeanOfOnesByHand) {
  EXPECT_EQ(projected_extent(4, 2, true), 3);
  EXPECT_EQ(projected_extent(5, 2, true), 3);
  EXPECT_EQ(projected_extent(4, 2, false), 2);
  EXPECT_EQ(projected_extent(1, 2, true), 1);
  ConvProjection p;
  p.stride = 2;
  const Tensor y = conv_projection({}, p, ones({1, 4, 1}), {1, 1, 4}).value();
  ASSERT_EQ(y.shape(), Shape({1, 3, 1}));
  EXPECT_FLOAT_EQ(y[0], 2.0f / 9);  // rows -1 .. 1, columns -1 .. 1
  EXPECT_FLOAT_EQ(y[1], 3.0f / 9);  // columns 1 .. 3
  EXPECT_FLOAT_EQ(y[2], 1.0f / 6);  // columns 3 and 4
}

TEST(ConvProjection, RefusesWhatDoesNotFit) {
  ConvProjection p;
  p.weight = ones({2, 1, 3, 3});
  EXPECT_THROW(conv_projection({}, p, zeros({1, 5, 2}), {1, 2, 3}), Error);
  EXPECT_THROW(conv_projection({}, p, zeros({1, 6, 3}), {1, 2, 3}), Error);
  p.kernel = 5;
  EXPECT_THROW(conv_projection({}, p, zeros({1, 6, 2}), {1, 2, 3}), Error);
  p.kernel = 3, p.stride = 0;
  EXPECT_THROW(conv_projection({}, p, zeros({1, 6, 2}), {1, 2, 3}), Error);
  EXPECT_THROW(kConvProjection.make({.variant = "linear"}), Error);
}

// Spec: of dim 192, four times wider, kernel 3: 894,144 parameters, which the layer accepts, and no others.
TEST(ConvFf, SurveysOwnParameters) {
  constexpr std::int64_t kC = 192, kWide = 768;
  ConvFf ff{{zeros({kWide, kC, 1, 1}), zeros({kWide})},
            {zeros({kWide, 1, 3, 3}), zeros({kWide})},
            {zeros({kWide, kWide, 1, 1}), zeros({kWide})},
            {zeros({kC, kWide, 1, 1}), zeros({kC})}};
  std::int64_t count = 0;
  for (const Conv2dNumbers* conv : {&ff.up, &ff.depth, &ff.point, &ff.down})
    count += conv->weight.value().numel() + conv->bias.value().numel();
  EXPECT_EQ(count, 894144);
  const Tensor out = conv_ff({}, ff, ones({1, 1 + 6, kC}), {1, 2, 3}, 1).value();
  for (std::int64_t x = 0; x < out.numel(); ++x) EXPECT_EQ(out[x], x < kC ? 1.0f : 0.0f);
  ff.point.weight = zeros({kWide, kC, 1, 1});
  EXPECT_THROW(conv_ff({}, ff, ones({1, 7, kC}), {1, 2, 3}, 1), Error);
}

TEST(ConvFf, HardSwishByHand) {
  EXPECT_EQ(hard_swish_number(-3.5), 0.0);
  EXPECT_EQ(hard_swish_number(4.0), 4.0);
  EXPECT_EQ(hard_swish_number(1.5), 1.5 * 4.5 / 6);
  EXPECT_EQ(hard_sigmoid_number(0.0), 0.5);
}

}  // namespace conv_tokens_test
}  // namespace locant
