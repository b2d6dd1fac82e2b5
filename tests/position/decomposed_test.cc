#include "position/decomposed.h"

#include "core/error.h"
#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/rearrange.h"
#include "tests/support/golden_numbers.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace decomposed_test {

using testing::expect_golden;
using testing::golden_input;
using testing::golden_parameter;
using testing::random_tensor;
using Rows = std::vector<std::vector<std::int64_t>>;

Rows rows_of(std::int64_t Q, std::int64_t K) {
  Rows out(static_cast<std::size_t>(Q));
  for (std::int64_t a = 0; a < Q; ++a)
    for (std::int64_t b = 0; b < K; ++b)
      out[static_cast<std::size_t>(a)].push_back(decomposed_row(Q, K, a, b));
  return out;
}

TEST(Decomposed, IndexOfEqualAndUnequalAxesByHand) {
  EXPECT_EQ(rows_of(3, 3), (Rows{{2, 1, 0}, {3, 2, 1}, {4, 3, 2}}));
  EXPECT_EQ(rows_of(4, 4), (Rows{{3, 2, 1, 0}, {4, 3, 2, 1}, {5, 4, 3, 2}, {6, 5, 4, 3}}));
  EXPECT_EQ(rows_of(4, 2), (Rows{{2, 0}, {3, 1}, {4, 2}, {5, 3}}));
  EXPECT_EQ(rows_of(2, 4), (Rows{{3, 2, 1, 0}, {5, 4, 3, 2}}));
  EXPECT_EQ(rows_of(3, 2), (Rows{{1, 0}, {2, 1}, {3, 2}}));  // the halves are cut off
}

TEST(Decomposed, IndexStaysInTheTable) {
  for (std::int64_t Q = 1; Q <= 40; ++Q)
    for (std::int64_t K = 1; K <= 40; ++K) {
      EXPECT_EQ(decomposed_row(Q, K, 0, K - 1), 0);
      for (const std::int64_t a : {std::int64_t{0}, Q - 1})
        for (const std::int64_t b : {std::int64_t{0}, K - 1}) {
          EXPECT_GE(decomposed_row(Q, K, a, b), 0);
          EXPECT_LT(decomposed_row(Q, K, a, b), decomposed_rows(Q, K));
        }
    }
}

TEST(Decomposed, ResizeIsLinearAlongTheLength) {
  const Var table(Tensor::from({7, 1}, std::vector<float>{0, 1, 2, 3, 4, 5, 6}));
  const auto read = [](const Var& t, std::int64_t n, std::int64_t a, std::int64_t b) {
    return t.value()[decomposed_row(n, n, a, b)];
  };
  const Var three = resize_decomposed({}, table, 2, 2), nine = resize_decomposed({}, table, 5, 5);
  ASSERT_EQ(three.shape(), (Shape{3, 1}));
  ASSERT_EQ(nine.shape(), (Shape{9, 1}));
  EXPECT_NEAR(read(three, 2, 0, 0), 3.0, 1e-5);
  EXPECT_NEAR(read(three, 2, 0, 1), 0.666667, 1e-5);
  EXPECT_NEAR(read(three, 2, 1, 0), 5.333333, 1e-5);
  const double row[] = {3, 2.222222, 1.444444, 0.666667, 0}, column[] = {3, 3.777778, 4.555556, 5.333333, 6};
  for (std::int64_t x = 0; x < 5; ++x) {
    EXPECT_NEAR(read(nine, 5, 0, x), row[x], 1e-5);
    EXPECT_NEAR(read(nine, 5, x, 0), column[x], 1e-5);
  }
}

// The image encoder's attention (two heads of 2, a grid of 2 x 3), from separate and from joint projections.
TEST(Decomposed, SamAttentionGolden) {
  const Grid grid{1, 2, 3};
  const Decomposed tables{{}, Var(golden_parameter({3, 2}, 0)), Var(golden_parameter({5, 2}, 1))};
  const Var qkv = linear({}, Var(golden_input({1, 6, 4})), Var(golden_parameter({12, 4}, 2)),
                         Var(golden_parameter({12}, 3)));
  AttentionOptions options;
  options.heads = 2;
  options.terms = {decomposed_term({}, tables, qkv, 2, decomposed_indices(grid, grid), 2)};
  const Var out = linear({}, attention({}, qkv, options), Var(golden_parameter({4, 4}, 4)),
                         Var(golden_parameter({4}, 5)));
  expect_golden(out.value(),
                {-0.343710, 0.854508, 0.948652, 0.026052, -0.287092, 0.797620, 0.838728, -0.020063,
                 -0.318240, 0.738457, 0.814437, 0.016340, -0.336394, 0.766621, 0.858983, 0.029916,
                 -0.351267, 0.806926, 0.911623, 0.038936, -0.295750, 0.768478, 0.820079, -0.008395});
}

// Part `p` of a joint projection (1, 16, 12) on a 4 x 4 grid, pooled by a depthwise convolution and a norm.
Var pooled(const Var& qkv, std::int64_t p, const Tensor& kernel, std::int64_t stride) {
  const Var part = slice_axis({}, qkv, 2, 4 * p, 4 * p + 4);  // heads of 2 channels
  const Var heads = permute({}, reshape({}, part, {16, 2, 2}), {1, 2, 0});
  const Var map = conv2d({}, reshape({}, heads, {2, 2, 4, 4}), Var(kernel), {}, {stride, stride, 1, 1, 2});
  const Var tokens = images_to_tokens({}, map);  // (heads, n, 2)
  const Var normed = layer_norm({}, tokens, Var(Tensor::full({2}, 1.0f)), Var(Tensor::zeros({2})), 1e-5f);
  return reshape({}, permute({}, normed, {1, 0, 2}), {1, tokens.dim(1), 4});
}

Var mvitv2_attention(std::int64_t q_stride, std::int64_t kv_stride) {
  const Decomposed tables{{}, Var(golden_parameter({7, 2}, 0)), Var(golden_parameter({7, 2}, 1))};
  const Var qkv = linear({}, Var(golden_input({1, 16, 4})), Var(golden_parameter({12, 4}, 2)),
                         Var(golden_parameter({12}, 3)));
  const Var q = pooled(qkv, 0, golden_parameter({2, 1, 3, 3}, 6), q_stride);
  const Var k = pooled(qkv, 1, golden_parameter({2, 1, 3, 3}, 7), kv_stride);
  const Var v = pooled(qkv, 2, golden_parameter({2, 1, 3, 3}, 8), kv_stride);
  const Grid query{1, 4 / q_stride, 4 / q_stride}, key{1, 4 / kv_stride, 4 / kv_stride};
  AttentionOptions options;
  options.heads = 2;
  options.terms = {decomposed_term({}, tables, q, 2, decomposed_indices(query, key))};
  const Var y = add({}, attention({}, q, k, v, options), q);
  return linear({}, y, Var(golden_parameter({4, 4}, 4)), Var(golden_parameter({4}, 5)));
}

TEST(Decomposed, MvitV2AttentionGolden) {
  expect_golden(mvitv2_attention(2, 1).value(),
                {-0.161661, 0.370414, 0.312990, -0.085490, -0.691384, -0.794392, -0.248748, 0.552948,
                 0.535745, 1.032990, 0.236440, -0.819796, 0.636696, 1.186972, 0.279775, -0.933171});
  const Tensor keys_pooled = mvitv2_attention(1, 2).value();
  expect_golden(keys_pooled, {0.022502, 0.279282, 0.043433, -0.246942});
  expect_golden(keys_pooled, {-0.648195, -0.995617, -0.480492, 0.537021}, 2 * 4);
  expect_golden(keys_pooled, {0.254454, 0.502194, 0.020358, -0.491477}, 15 * 4);
}

// Tokens of one window attend as if it were alone.
TEST(Decomposed, WindowsAreGridsByThemselves) {
  constexpr std::int64_t kH = 2, kD = 3;
  const Grid grid{1, 4, 6}, window{1, 2, 3};
  const Decomposed tables{{}, Var(random_tensor({3, kD}, 1)), Var(random_tensor({5, kD}, 2))};
  const Tensor qkv = random_tensor({1, 24, 3 * kH * kD}, 3);
  AttentionOptions options;
  options.heads = kH;
  const auto maps = std::make_shared<RowMaps>(block_rows("test", grid, window, {}));
  options.rows = maps;
  options.terms = {
      decomposed_term({}, tables, Var(qkv), kH, decomposed_window_indices(*maps, 24, window, window), kD)};
  const Tensor all = attention({}, Var(qkv), options).value();
  options.rows = nullptr;
  for (std::int64_t g = 0; g < maps->groups; ++g) {
    Tensor part({1, 6, 3 * kH * kD});
    const std::int32_t* rows = maps->query_rows.data() + g * 6;
    for (std::int64_t s = 0; s < 6; ++s)
      std::copy_n(qkv.data() + rows[s] * 3 * kH * kD, 3 * kH * kD, part.data() + s * 3 * kH * kD);
    options.terms = {decomposed_term({}, tables, Var(part), kH, decomposed_indices(window, window), kD)};
    const Tensor alone = attention({}, Var(part), options).value();
    for (std::int64_t x = 0; x < alone.numel(); ++x)
      EXPECT_NEAR(alone[x], all[rows[x / (kH * kD)] * kH * kD + x % (kH * kD)], 1e-6f);
  }
}

TEST(Decomposed, RefusesWhatDoesNotFit) {
  const Grid grid{1, 2, 3};
  const Var q(Tensor::zeros({1, 6, 8}));
  const auto term = [&](const Tensor& rows, const Tensor& columns) {
    return decomposed_term({}, {{}, Var(rows), Var(columns)}, q, 2, decomposed_indices(grid, grid));
  };
  EXPECT_NO_THROW(term(Tensor::zeros({3, 4}), Tensor::zeros({5, 4})));
  EXPECT_THROW(term(Tensor::zeros({3, 4}), Tensor::zeros({3, 4})), Error);
  EXPECT_THROW(term(Tensor::zeros({3, 5}), Tensor::zeros({5, 4})), Error);
  EXPECT_THROW(decomposed_indices({1, 0, 3}, grid), Error);
  EXPECT_THROW(decomposed_indices(grid, {1, 2, -3}), Error);
  EXPECT_THROW(decomposed_indices({2, 2, 3}, grid), Error);
  EXPECT_THROW(decomposed_indices(grid, grid, -1), Error);
  EXPECT_THROW(decomposed_indices(grid, grid, std::int64_t{1} << 40), Error);
  EXPECT_THROW(resize_decomposed({}, Var(Tensor::zeros({3})), 2, 2), Error);
  EXPECT_THROW(resize_decomposed({}, Var(Tensor::zeros({3, 4})), 0, 2), Error);
  try {
    term(Tensor::zeros({3, 4}), Tensor::zeros({7, 4}));
  } catch (const Error& e) {
    const std::string text = e.what();
    for (const char* part : {"decomposed", "rel_pos_w", "(7, 4)", "(5, 4)"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

}  // namespace decomposed_test
}  // namespace locant
