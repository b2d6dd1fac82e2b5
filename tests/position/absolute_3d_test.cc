#include "position/absolute_3d.h"

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace absolute_3d_test {

using testing::random_tensor;

TEST(Absolute3d, FramesAndPlacesByHand) {
  const Var time(Tensor::from({1, 2, 1}, std::vector<float>{10, 20})),
      space(Tensor::from({1, 3, 1}, std::vector<float>{1, 2, 3}));
  const Tensor both = factorised_absolute({}, time, space).value(),
               frames = temporal_absolute({}, time, 2, 3).value();
  ASSERT_EQ(both.shape(), (Shape{1, 6, 1}));
  constexpr float kBoth[6] = {11, 12, 13, 21, 22, 23}, kFrames[6] = {10, 10, 10, 20, 20, 20};
  for (int n = 0; n < 6; ++n) {
    EXPECT_EQ(both[n], kBoth[n]);
    EXPECT_EQ(frames[n], kFrames[n]);
  }
}

TEST(Absolute3d, GradientsSumOverWhatSharesARow) {
  constexpr std::int64_t kF = 3, kPlaces = 4, kC = 2;
  const Var time(random_tensor({1, kF, kC}, 1), true), space(random_tensor({1, kPlaces, kC}, 2), true);
  const Tensor dy = random_tensor({1, kF * kPlaces, kC}, 3);
  Tape tape;
  tape.backward({{factorised_absolute({.tape = &tape}, time, space), dy}});
  std::vector<double> dtime(kF * kC), dspace(kPlaces * kC);
  for (std::int64_t x = 0; x < dy.numel(); ++x) {
    dtime[static_cast<std::size_t>(x / kC / kPlaces * kC + x % kC)] += static_cast<double>(dy[x]);
    dspace[static_cast<std::size_t>(x / kC % kPlaces * kC + x % kC)] += static_cast<double>(dy[x]);
  }
  testing::expect_close(time.grad(), dtime, 1e-6, "frames");
  testing::expect_close(space.grad(), dspace, 1e-6, "places");
}

TEST(Absolute3d, ResizeIsLinearBetweenCentres) {
  const Tensor more = resize_temporal({}, Var(Tensor::from({1, 2, 1}, std::vector<float>{0, 8})), 4).value();
  ASSERT_EQ(more.shape(), (Shape{1, 4, 1}));
  constexpr float kMore[4] = {0, 2, 6, 8};
  for (int f = 0; f < 4; ++f) EXPECT_NEAR(more[f], kMore[f], 1e-6);
  const Tensor own = random_tensor({1, 5, 3}, 1);
  testing::expect_close(resize_temporal({}, Var(own), 5).value(), testing::to_double(own), 1e-7, "own size");
}

TEST(Absolute3d, RefusesWhatDoesNotFit) {
  const Var time(Tensor::zeros({1, 2, 3}));
  EXPECT_THROW(temporal_absolute({}, time, 3, 4), Error);
  EXPECT_THROW(temporal_absolute({}, time, 2, -1), Error);
  EXPECT_THROW(temporal_absolute({}, time, 2, std::int64_t{1} << 62), Error);
  EXPECT_THROW(temporal_absolute({}, {}, 2, 4), Error);
  EXPECT_THROW(factorised_absolute({}, time, Var(Tensor::zeros({1, 4, 2}))), Error);
  EXPECT_THROW(factorised_absolute({}, time, Var(Tensor::zeros({4, 3}))), Error);
  EXPECT_THROW(resize_temporal({}, time, 0), Error);
  EXPECT_THROW(kAbsolute3d.make({.query = {2, 2, 2}, .key = {2, 2, 2}, .prefix = 1}), Error);
  EXPECT_THROW(kAbsolute3d.make({.query = {2, 2, 2}, .key = {2, 2, 2}, .variant = "other"}), Error);
}

}  // namespace absolute_3d_test
}  // namespace locant
