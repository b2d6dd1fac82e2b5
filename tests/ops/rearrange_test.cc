#include "ops/rearrange.h"

#include <numeric>

#include "core/error.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace rearrange_test {

using testing::at;
using testing::expect_op;
using testing::random_tensor;

// Coordinates of number i of a shape.
std::vector<std::int64_t> coordinates(const Shape& shape, std::int64_t i) {
  std::vector<std::int64_t> out(at(shape.rank()));
  for (int axis = shape.rank(); axis-- > 0; i /= shape[axis]) out[at(axis)] = i % shape[axis];
  return out;
}

std::int64_t place(const Shape& shape, const std::vector<std::int64_t>& where) {
  std::int64_t i = 0;
  for (int axis = 0; axis < shape.rank(); ++axis) i = i * shape[axis] + where[at(axis)];
  return i;
}

// Number i of the result is number from[i] of the input; -1: zero.
auto gathered(const std::vector<std::int64_t>& from) {
  return [from](const auto& in) {
    using T = typename std::decay_t<decltype(in[0])>::value_type;
    std::vector<T> y;
    for (const std::int64_t i : from) y.push_back(i < 0 ? T(0) : in[0][at(i)]);
    return y;
  };
}

void check_permute(const Shape& shape, const std::vector<int>& order) {
  std::vector<std::int64_t> extents;
  for (const int axis : order) extents.push_back(shape[axis]);
  const Shape result{std::span<const std::int64_t>(extents)};
  std::vector<std::int64_t> from;
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    const auto where = coordinates(result, i);
    std::vector<std::int64_t> source(where.size());
    for (std::size_t a = 0; a < order.size(); ++a) source[at(order[a])] = where[a];
    from.push_back(place(shape, source));
  }
  const auto op = [&](const Context& ctx, const auto& v) { return permute(ctx, v[0], order); };
  EXPECT_EQ(op({}, std::vector<Var>{Var(Tensor::zeros(shape))}).shape(), result);
  expect_op(shape.str().c_str(), {random_tensor(shape, 1)}, op, gathered(from));
}

TEST(Permute, EveryOrderOfFourAxes) {
  for (const Shape& shape : {Shape{2, 3, 4, 5}, {1, 2, 1, 3}, {3, 1, 17, 2}}) {
    std::vector<int> order = {0, 1, 2, 3};
    do check_permute(shape, order);
    while (std::next_permutation(order.begin(), order.end()));
  }
}

TEST(Permute, OtherRanksAndWholeTiles) {
  check_permute({1}, {0});
  check_permute({17}, {0});
  check_permute({1, 1, 1}, {2, 0, 1});
  check_permute({33, 35}, {1, 0});
  check_permute({2, 17, 16}, {0, 2, 1});
  check_permute({2, 3, 1, 2, 3, 2}, {5, 3, 1, 4, 2, 0});
}

TEST(Permute, LargeForAnyThreads) {
  const Tensor x = random_tensor({3, 200, 65}, 1);
  const Tensor y = permute({}, Var(x), {0, 2, 1}).value();
  for (std::int64_t b = 0; b < 3; ++b)
    for (std::int64_t n = 0; n < 200; ++n)
      for (std::int64_t c = 0; c < 65; ++c) ASSERT_EQ(y[(b * 65 + c) * 200 + n], x[(b * 200 + n) * 65 + c]);
}

TEST(Permute, WrongOrdersAreErrors) {
  const Var x(Tensor::zeros({2, 3, 4}));
  for (const std::vector<int>& order :
       {std::vector<int>{0, 1}, {0, 1, 1}, {0, 1, 3}, {0, -1, 1}, {0, 1, 2, 3}, {}})
    EXPECT_THROW(permute({}, x, order), Error);
}

TEST(SliceAxis, EveryAxis) {
  const Shape shape{3, 4, 5};
  for (int axis = -3; axis < 3; ++axis)
    for (std::int64_t begin = 0; begin < 3; ++begin)
      for (std::int64_t end = begin; end <= 3; ++end) {
        std::vector<std::int64_t> from;
        for (std::int64_t i = 0; i < shape.numel(); ++i) {
          const std::int64_t entry = coordinates(shape, i)[at((axis + 3) % 3)];
          if (entry >= begin && entry < end) from.push_back(i);
        }
        expect_op(
            "slice", {random_tensor(shape, 1)},
            [&](const Context& ctx, const auto& v) { return slice_axis(ctx, v[0], axis, begin, end); },
            gathered(from));
      }
}

TEST(SliceAxis, OutsideIsAnError) {
  const Var x(Tensor::zeros({2, 3}));
  EXPECT_THROW(slice_axis({}, x, 2, 0, 1), Error);
  EXPECT_THROW(slice_axis({}, x, -3, 0, 1), Error);
  EXPECT_THROW(slice_axis({}, x, 1, 0, 4), Error);
  EXPECT_THROW(slice_axis({}, x, 1, -1, 2), Error);
  EXPECT_THROW(slice_axis({}, x, 1, 2, 1), Error);
}

TEST(ConcatAxis, EveryAxis) {
  const Shape one{2, 3, 4};
  for (int axis = 0; axis < 3; ++axis) {
    std::vector<std::int64_t> extents = {2, 3, 4}, total = {2, 3, 4};
    extents[at(axis)] = 2;
    total[at(axis)] += 2;
    const Shape two{std::span<const std::int64_t>(extents)}, result{std::span<const std::int64_t>(total)};
    const auto op = [&](const Context& ctx, const auto& v) {
      return concat_axis(ctx, {v[0], v[1]}, axis - 3);
    };
    EXPECT_EQ(op({}, std::vector<Var>{Var(Tensor::zeros(one)), Var(Tensor::zeros(two))}).shape(), result);
    expect_op("concat", {random_tensor(one, 1), random_tensor(two, 2)}, op, [&](const auto& in) {
      auto y = in[0];
      y.resize(at(result.numel()));
      for (std::int64_t i = 0; i < result.numel(); ++i) {
        auto where = coordinates(result, i);
        const bool second = where[at(axis)] >= one[axis];
        if (second) where[at(axis)] -= one[axis];
        y[at(i)] = second ? in[1][at(place(two, where))] : in[0][at(place(one, where))];
      }
      return y;
    });
  }
}

TEST(ConcatAxis, MisfitsAreErrors) {
  const Var x(Tensor::zeros({2, 3}));
  EXPECT_THROW(concat_axis({}, {}, 0), Error);
  EXPECT_THROW(concat_axis({}, {x, Var(Tensor::zeros({3, 3}))}, 1), Error);
  EXPECT_THROW(concat_axis({}, {x, Var(Tensor::zeros({2, 3, 1}))}, 1), Error);
  EXPECT_THROW(concat_axis({}, {x, x}, 2), Error);
}

TEST(GatherRows, RepeatsSkipsAndZeros) {
  for (const Shape& shape : {Shape{4}, {4, 1}, {4, 17}, {4, 2, 3}}) {
    const std::vector<std::int32_t> rows = {2, 0, 2, -1, 3, 2, 0};  // row 1 is never read
    const std::int64_t width = shape.numel() / 4;
    std::vector<std::int64_t> from;
    for (const std::int32_t row : rows)
      for (std::int64_t c = 0; c < width; ++c) from.push_back(row < 0 ? -1 : row * width + c);
    expect_op(
        "gather", {random_tensor(shape, 1)},
        [&](const Context& ctx, const auto& v) { return gather_rows(ctx, v[0], rows); }, gathered(from));
  }
}

TEST(GatherRows, NoRowsAndBadRows) {
  const Var table(Tensor::zeros({4, 3}));
  EXPECT_EQ(gather_rows({}, table, {}).shape(), (Shape{0, 3}));
  EXPECT_THROW(gather_rows({}, table, {0, 4}), Error);
  EXPECT_THROW(gather_rows({}, Var(Tensor::zeros({})), {0}), Error);
}

TEST(Tokens, ImagesAndBack) {
  const std::int64_t B = 2, H = 3, W = 5, C = 4;
  std::vector<std::int64_t> to_images, to_tokens;
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t c = 0; c < C; ++c)
      for (std::int64_t p = 0; p < H * W; ++p) to_images.push_back((b * H * W + p) * C + c);
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t p = 0; p < H * W; ++p)
      for (std::int64_t c = 0; c < C; ++c) to_tokens.push_back((b * C + c) * H * W + p);
  expect_op(
      "images", {random_tensor({B, H * W, C}, 1)},
      [&](const Context& ctx, const auto& v) { return tokens_to_images(ctx, v[0], H, W); },
      gathered(to_images));
  expect_op(
      "tokens", {random_tensor({B, C, H, W}, 1)},
      [&](const Context& ctx, const auto& v) { return images_to_tokens(ctx, v[0]); }, gathered(to_tokens));
  const Var tokens(Tensor::zeros({B, H * W, C}));
  EXPECT_EQ(tokens_to_images({}, tokens, H, W).shape(), (Shape{B, C, H, W}));
  EXPECT_EQ(images_to_tokens({}, Var(Tensor::zeros({B, C, H, W}))).shape(), tokens.shape());
  EXPECT_THROW(tokens_to_images({}, tokens, 4, 4), Error);
  EXPECT_THROW(tokens_to_images({}, tokens, -3, -5), Error);
  EXPECT_THROW(tokens_to_images({}, tokens, INT64_MAX, INT64_MAX), Error);
  EXPECT_THROW(tokens_to_images({}, Var(Tensor::zeros({3, 5})), 1, 3), Error);
  EXPECT_THROW(images_to_tokens({}, tokens), Error);
}

TEST(Rearrange, SameBitsForAnyThreads) {
  const std::vector<Tensor> x = {random_tensor({40, 30, 33}, 1)};
  std::vector<std::int32_t> rows;
  for (std::int32_t r = 0; r < 500; ++r) rows.push_back(r * r % 41 - 1);
  testing::expect_same_for_threads("permute", x, [](const Context& ctx, const auto& v) {
    return permute(ctx, v[0], {2, 0, 1});
  });
  testing::expect_same_for_threads(
      "slice", x, [](const Context& ctx, const auto& v) { return slice_axis(ctx, v[0], 1, 3, 29); });
  testing::expect_same_for_threads("concat", x, [](const Context& ctx, const auto& v) {
    return concat_axis(ctx, {v[0], v[0]}, 1);
  });
  testing::expect_same_for_threads(
      "gather", x, [&](const Context& ctx, const auto& v) { return gather_rows(ctx, v[0], rows); });
}

}  // namespace rearrange_test
}  // namespace locant
