#include "ops/product.h"

#include <array>
#include <span>

#include "core/error.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace product_test {

using testing::at;
using testing::expect_op;
using testing::random_tensor;

// y[l] = alpha op(a[l]) op(b[l]) by three loops; strides of 0 share an operand.
struct Product {
  std::int64_t L, M, N, K;
  bool a_shared, b_shared;
  ProductOptions o;

  template <class T>
  std::vector<T> operator()(const testing::Values<T>& in) const {
    std::vector<T> y(at(L * M * N));
    for (std::int64_t l = 0; l < L; ++l)
      for (std::int64_t i = 0; i < M; ++i)
        for (std::int64_t j = 0; j < N; ++j)
          for (std::int64_t k = 0; k < K; ++k) {
            const T a = in[0][at((a_shared ? 0 : l * M * K) + (o.transpose_a ? k * M + i : i * K + k))];
            const T b = in[1][at((b_shared ? 0 : l * K * N) + (o.transpose_b ? j * K + k : k * N + j))];
            y[at((l * M + i) * N + j)] += static_cast<double>(o.alpha) * a * b;
          }
    return y;
  }
};

Shape matrix(std::vector<std::int64_t> leading, bool transposed, std::int64_t rows, std::int64_t columns) {
  leading.push_back(transposed ? columns : rows);
  leading.push_back(transposed ? rows : columns);
  return Shape(std::span<const std::int64_t>(leading));
}

TEST(Product, EveryTransposeAndSharing) {
  for (const auto& [M, N, K] : {std::array<std::int64_t, 3>{1, 1, 1}, {2, 3, 1}, {4, 2, 17}, {17, 5, 3}})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const int sharing : {0, 1, 2, 3}) {  // none, a, b, no leading axes
          const ProductOptions options{ta, tb, 0.75f};
          const std::vector<std::int64_t> leading = {2, 3}, none;
          const Product reference{sharing == 3 ? 1 : 6, M, N, K, sharing == 1, sharing == 2, options};
          expect_op(
              "product",
              {random_tensor(matrix(sharing == 1 || sharing == 3 ? none : leading, ta, M, K), 1),
               random_tensor(matrix(sharing == 2 || sharing == 3 ? none : leading, tb, K, N), 2)},
              [&](const Context& ctx, const auto& v) { return product(ctx, v[0], v[1], options); },
              reference);
        }
}

TEST(Product, ShapesOfResults) {
  const Var a(Tensor::zeros({2, 3, 4, 5})), b(Tensor::zeros({5, 7}));
  EXPECT_EQ(product({}, a, b).shape(), (Shape{2, 3, 4, 7}));
  EXPECT_EQ(product({}, b, a, {.transpose_a = true, .transpose_b = true}).shape(), (Shape{2, 3, 7, 4}));
}

TEST(Product, NothingToSumGivesZeros) {
  Tape tape;
  const Var a(random_tensor({3, 4}, 1), true), b(Tensor({0, 4, 2}), true);
  const Var y = product({.tape = &tape}, a, b);
  EXPECT_EQ(y.shape(), (Shape{0, 3, 2}));
  tape.backward({{y, Tensor({0, 3, 2})}});
  for (const float g : a.grad().values()) EXPECT_EQ(g, 0.0f);
}

TEST(Product, MisfitsAreErrors) {
  const auto misfit = [](const Shape& a, const Shape& b, const ProductOptions& options = {}) {
    EXPECT_THROW(product({}, Var(Tensor::zeros(a)), Var(Tensor::zeros(b)), options), Error)
        << a.str() << " " << b.str();
  };
  misfit({3}, {3, 2});
  misfit({2, 3}, {2, 3});
  misfit({2, 3}, {3, 2}, {.transpose_a = true});
  misfit({2, 4, 3}, {3, 3, 2});
  misfit({2, 4, 3}, {2, 2, 3, 2});
}

TEST(HeadProducts, SharedAndOwnTables) {
  for (const auto& [B, N, H, D, R] :
       {std::array<std::int64_t, 5>{1, 1, 1, 1, 1}, {2, 3, 2, 5, 4}, {1, 17, 3, 4, 2}, {2, 2, 5, 1, 17}})
    for (const bool own : {false, true}) {
      const std::int64_t tokens = B * N, heads = H, width = D, vectors = R;
      expect_op(
          own ? "own" : "shared",
          {random_tensor({B, N, H * D}, 1), random_tensor(own ? Shape{H, R, D} : Shape{R, D}, 2)},
          [&](const Context& ctx, const auto& v) { return head_products(ctx, v[0], heads, v[1], 0.5f); },
          [&](const auto& in) {
            using T = typename std::decay_t<decltype(in[0])>::value_type;
            std::vector<T> y(at(tokens * heads * vectors));
            for (std::int64_t n = 0; n < tokens; ++n)
              for (std::int64_t h = 0; h < heads; ++h)
                for (std::int64_t r = 0; r < vectors; ++r)
                  for (std::int64_t d = 0; d < width; ++d)
                    y[at((n * heads + h) * vectors + r)] +=
                        0.5 * in[0][at((n * heads + h) * width + d)] *
                        in[1][at(((own ? h * vectors : 0) + r) * width + d)];
            return y;
          });
    }
}

TEST(HeadProducts, MisfitsAreErrors) {
  const Var x(Tensor::zeros({2, 3, 12}));
  EXPECT_THROW(head_products({}, x, 5, Var(Tensor::zeros({4, 2}))), Error);
  EXPECT_THROW(head_products({}, x, 0, Var(Tensor::zeros({4, 2}))), Error);
  EXPECT_THROW(head_products({}, x, 3, Var(Tensor::zeros({4, 3}))), Error);
  EXPECT_THROW(head_products({}, x, 3, Var(Tensor::zeros({2, 5, 4}))), Error);
  EXPECT_THROW(head_products({}, x, 3, Var(Tensor::zeros({4}))), Error);
  EXPECT_THROW(head_products({}, Var(Tensor::zeros({3, 12})), 3, Var(Tensor::zeros({5, 4}))), Error);
}

TEST(Product, EmptySums) {
  const Tensor y = product({}, Var(Tensor({2, 0})), Var(Tensor({0, 3}))).value();
  EXPECT_EQ(y.shape(), (Shape{2, 3}));
  for (const float v : y.values()) EXPECT_EQ(v, 0.0f);
  for (const bool transpose_a : {false, true}) {
    Tape tape;
    const Var a(Tensor({0, 4, 4}), true), b(random_tensor({4, 2}, 1), true);
    const Var none = product({.tape = &tape}, a, b, {.transpose_a = transpose_a});
    tape.backward({{none, Tensor({0, 4, 2})}});
    EXPECT_EQ(a.grad().shape(), a.shape());
    for (const float g : b.grad().values()) EXPECT_EQ(g, 0.0f);
  }
}

TEST(Product, SameBitsForEqualThreads) {
  for (const bool transposed : {false, true})
    for (const bool shared : {false, true})
      testing::expect_same_for_thread_counts(
          "product",
          {random_tensor({12, 65, 65}, 1), random_tensor(shared ? Shape{65, 65} : Shape{12, 65, 65}, 2)},
          [&](const Context& ctx, const auto& v) {
            return product(ctx, v[0], v[1], {transposed, !transposed, 0.5f});
          });
  for (const Shape& table : {Shape{33, 16}, {6, 33, 16}})
    testing::expect_same_for_thread_counts(
        "head products", {random_tensor({2, 100, 96}, 1), random_tensor(table, 2)},
        [](const Context& ctx, const auto& v) { return head_products(ctx, v[0], 6, v[1]); });
}

}  // namespace product_test
}  // namespace locant
