#include <gtest/gtest.h>

#include "core/profile.h"
#include "ops/attention/attention.h"
#include "ops/conv1d.h"
#include "ops/conv2d.h"
#include "ops/conv_transpose2d.h"
#include "ops/linear.h"
#include "ops/linear_attention.h"
#include "ops/product.h"
#include "ops/talking_heads.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace multiply_adds_test {

using testing::random_tensor;

Var of(const Shape& shape) { return Var(random_tensor(shape, 1)); }

template <class Call>
std::int64_t counted(const Call& call) {
  profile_start();
  call();
  std::int64_t sum = 0;
  for (const ProfileEntry& entry : profile_stop()) sum += entry.multiply_adds;
  return sum;
}

TEST(MultiplyAdds, OfProductsAndConvolutions) {
  const Context ctx;
  EXPECT_EQ(counted([&] { linear(ctx, of({2, 5, 3}), of({7, 3}), of({7})); }), 2 * 5 * 3 * 7);
  EXPECT_EQ(counted([&] {
              PackedLinear(random_tensor({7, 3}, 1), Tensor())
                  .forward(random_tensor({2, 5, 3}, 2), Activation::none, Tensor());
            }),
            2 * 5 * 3 * 7);
  EXPECT_EQ(counted([&] { product(ctx, of({2, 3, 5}), of({2, 5, 4}), {}); }), 2 * 3 * 5 * 4);
  EXPECT_EQ(counted([&] { head_products(ctx, of({2, 3, 8}), 2, of({6, 4})); }), 2 * 3 * 2 * 4 * 6);
  Conv2dOptions conv;
  conv.pad_rows = conv.pad_columns = 1;
  EXPECT_EQ(counted([&] {
              conv2d(ctx, of({2, 4, 5, 6}), of({8, 4, 3, 3}), of({8}), conv);
            }),
            2 * 8 * 5 * 6 * 4 * 9);
  conv.groups = 4;
  EXPECT_EQ(counted([&] {
              conv2d(ctx, of({2, 4, 5, 6}), of({4, 1, 3, 3}), of({4}), conv);
            }),
            2 * 4 * 5 * 6 * 9);
}

TEST(MultiplyAdds, OfAttention) {
  const Context ctx;
  AttentionOptions options;
  options.heads = 2;
  EXPECT_EQ(counted([&] {
              attention(ctx, of({2, 5, 8}), of({2, 6, 8}), of({2, 6, 12}), options);
            }),
            2 * 2 * 5 * 6 * (4 + 6));
  EXPECT_EQ(counted([&] {
              linear_attention(ctx, of({2, 5, 8}), of({2, 6, 8}), of({2, 6, 12}), {.heads = 2});
            }),
            2 * (5 + 6) * 2 * 4 * 6);
}

// Gradients are no part of it.
TEST(MultiplyAdds, CountTheForwardPassAlone) {
  Tape tape;
  Context ctx;
  ctx.tape = &tape;
  const Var weight(random_tensor({7, 3}, 2), true);
  EXPECT_EQ(counted([&] {
              tape.backward({{linear(ctx, of({1, 1, 3}), weight, Var()), random_tensor({1, 1, 7}, 4)}});
            }),
            3 * 7);
}

}  // namespace multiply_adds_test
}  // namespace locant
