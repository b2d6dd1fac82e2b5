#include "position/axial_deeplab.h"

#include "core/error.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace axial_deeplab_test {

using testing::random_tensor;

TEST(AxialDeeplab, IndexOfFourPlacesByHand) {
  constexpr int kQueryMinusKey[4][4] = {{3, 2, 1, 0}, {4, 3, 2, 1}, {5, 4, 3, 2}, {6, 5, 4, 3}};
  for (std::int64_t i = 0; i < 4; ++i)
    for (std::int64_t j = 0; j < 4; ++j) {
      EXPECT_EQ(axial_deeplab_row(4, AxialOrder::query_minus_key, i, j), kQueryMinusKey[i][j]);
      EXPECT_EQ(axial_deeplab_row(4, AxialOrder::key_minus_query, i, j), kQueryMinusKey[j][i]);
    }
}

// deeplab2 keeps 509 rows for lines of up to 255: a shorter line reads the middle.
TEST(AxialDeeplab, ShortLinesReadTheMiddle) {
  const auto make = [](std::int64_t K, std::int64_t skip) {
    Tensor out({axial_deeplab_rows(K), 2});
    for (std::int64_t x = 0; x < out.numel(); ++x) out[x] = std::sin(0.7f * static_cast<float>(x + 2 * skip));
    return Var(out);
  };
  const Var q(random_tensor({1, 4, 4}, 1)), k(random_tensor({1, 4, 4}, 2)), v(random_tensor({1, 4, 4}, 3));
  const auto run = [&](std::int64_t K) {
    const Var table = make(K, 255 - K);
    AttentionOptions options;
    options.heads = 2;
    add_axial_deeplab({}, {.K = K, .query = table, .key = table, .value = table}, 4, 2, 2, options);
    return attention_composed({}, q, k, v, options).value();
  };
  testing::expect_close(run(255), testing::to_double(run(4)), 2e-6, "result");
}

TEST(AxialDeeplab, SplitsThePackedTable) {
  Tensor packed({4, 3});  // D = 1, Dv = 2, K = 2
  for (std::int64_t x = 0; x < 12; ++x) packed[x] = static_cast<float>(x);
  const auto [query, key, value] = axial_deeplab_split({}, Var(packed), 1);
  EXPECT_EQ(query.shape(), (Shape{3, 1}));
  EXPECT_EQ(value.shape(), (Shape{3, 2}));
  EXPECT_EQ(query.value()[2], 2.0f);
  EXPECT_EQ(key.value()[0], 3.0f);
  EXPECT_EQ(value.value()[0], 6.0f);
  EXPECT_EQ(value.value()[1], 9.0f);
  EXPECT_EQ(value.value()[5], 11.0f);
  EXPECT_THROW(axial_deeplab_split({}, Var(Tensor::zeros({4, 4})), 1), Error);
  EXPECT_THROW(axial_deeplab_split({}, Var(Tensor::zeros({4, 3})), 2), Error);
}

TEST(AxialDeeplab, LinesOfAGrid) {
  const auto across = axial_rows({1, 2, 3}, GridAxis::columns), down = axial_rows({1, 2, 3}, GridAxis::rows);
  EXPECT_EQ(across->groups, 2);
  EXPECT_EQ(across->keys, 3);
  EXPECT_TRUE(across->query_rows.empty());
  EXPECT_EQ(down->groups, 3);
  EXPECT_EQ(down->query_rows, (std::vector<std::int32_t>{0, 3, 1, 4, 2, 5}));
  EXPECT_THROW(axial_rows({1, 0, 3}, GridAxis::rows), Error);
  EXPECT_THROW(axial_rows({2, 2, 3}, GridAxis::rows), Error);
  EXPECT_THROW(axial_rows({1, 2, 3}, GridAxis::frames), Error);
}

TEST(AxialDeeplab, RefusesWhatDoesNotFit) {
  const auto add = [](const Tensor& query, const Tensor& value, const Var& scale = {}, std::int64_t n = 3) {
    AttentionOptions options;
    options.heads = 2;
    add_axial_deeplab({},
                      {.K = 3,
                       .query = Var(query),
                       .key = Var(Tensor::zeros({5, 2})),
                       .value = Var(value),
                       .key_scale = scale},
                      n, 2, 4, options);
  };
  const Tensor good = Tensor::zeros({5, 2}), values = Tensor::zeros({5, 4});
  EXPECT_NO_THROW(add(good, values));
  EXPECT_NO_THROW(add(good, Tensor::zeros({2, 5, 4})));
  EXPECT_THROW(add(Tensor::zeros({6, 2}), values), Error);
  EXPECT_THROW(add(good, Tensor::zeros({5, 2})), Error);
  EXPECT_THROW(add(good, values, Var(Tensor::zeros({3}))), Error);
  EXPECT_THROW(add(good, values, {}, 4), Error);
  EXPECT_THROW(add(good, values, {}, 0), Error);
  try {
    add(Tensor::zeros({6, 2}), values);
  } catch (const Error& e) {
    const std::string text = e.what();
    for (const char* part : {"axial_deeplab", "(6, 2)", "(5, 2)"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

}  // namespace axial_deeplab_test
}  // namespace locant
