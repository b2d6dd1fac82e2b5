#include "position/shaw.h"

#include "core/error.h"
#include "tests/position/sine_numbers.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace shaw_test {

using testing::mapped;
using testing::random_tensor;

TEST(Shaw, IndexOfFourTokensByHand) {
  constexpr int kPaper[4][4] = {{2, 3, 4, 4}, {1, 2, 3, 4}, {0, 1, 2, 3}, {0, 0, 1, 2}};
  constexpr int kPorts[4][4] = {{2, 1, 0, 0}, {3, 2, 1, 0}, {4, 3, 2, 1}, {4, 4, 3, 2}};
  const auto paper = shaw_gather(2, ShawOrder::key_minus_query, 4, 4);
  const auto ports = shaw_gather(2, ShawOrder::query_minus_key, 4, 4);
  for (std::int64_t i = 0; i < 4; ++i)
    for (std::int64_t j = 0; j < 4; ++j) {
      EXPECT_EQ(mapped(*paper, i, j), kPaper[i][j]);
      EXPECT_EQ(mapped(*ports, i, j), kPorts[i][j]);
      EXPECT_EQ(kPorts[i][j], 4 - kPaper[i][j]);  // the same table upside down
    }
}

TEST(Shaw, MapGivesTheIndexOfUnequalLengths) {
  for (const ShawOrder order : {ShawOrder::key_minus_query, ShawOrder::query_minus_key})
    for (const std::int64_t K : {0, 1, 3, 40}) {
      const auto gather = shaw_gather(K, order, 5, 8);
      for (std::int64_t i = 0; i < 5; ++i)
        for (std::int64_t j = 0; j < 8; ++j) EXPECT_EQ(mapped(*gather, i, j), shaw_row(K, order, i, j));
    }
}

// A table that is the same in every row shifts all scores of a query alike, and adds itself to every value.
TEST(Shaw, EqualRowsMoveTheResultByTheValueRow) {
  constexpr std::int64_t kN = 6, kH = 2, kD = 3, kDv = 4, kK = 2;
  const Var q(random_tensor({1, kN, kH * kD}, 1)), k(random_tensor({1, kN, kH * kD}, 2)),
      v(random_tensor({1, kN, kH * kDv}, 3));
  Tensor keys({5, kD}), values({5, kDv});
  for (std::int64_t x = 0; x < keys.numel(); ++x) keys[x] = 0.25f * static_cast<float>(x % kD + 1);
  for (std::int64_t x = 0; x < values.numel(); ++x) values[x] = static_cast<float>(x % kDv) - 1.0f;
  AttentionOptions options;
  options.heads = kH;
  const Tensor plain = attention_composed({}, q, k, v, options).value();
  add_shaw({}, {.K = kK, .keys = Var(keys), .values = Var(values)}, q, kN, kDv, options);
  const Tensor moved = attention_composed({}, q, k, v, options).value();
  for (std::int64_t x = 0; x < plain.numel(); ++x)
    EXPECT_NEAR(moved[x], plain[x] + static_cast<float>(x % kDv) - 1.0f, 1e-5f);
}

// Spec: the softmax's rows of dS sum to zero, so the key table's gradient does; the value table's sums to
// that of the result.
TEST(Shaw, GradientsOfTheTablesHaveTheirSums) {
  constexpr std::int64_t kN = 7, kH = 2, kD = 3;
  const Shape shape{2, kN, kH * kD};
  const Shaw shaw{
      .K = 2, .keys = Var(random_tensor({5, kD}, 4), true), .values = Var(random_tensor({5, kD}, 5), true)};
  const Var q(random_tensor(shape, 1), true), k(random_tensor(shape, 2), true),
      v(random_tensor(shape, 3), true);
  const Tensor dout = random_tensor(shape, 6);
  Tape tape;
  const Context ctx{.tape = &tape};
  AttentionOptions options;
  options.heads = kH;
  add_shaw(ctx, shaw, q, kN, kD, options);
  tape.backward({{attention_composed(ctx, q, k, v, options), dout}});
  for (std::int64_t d = 0; d < kD; ++d) {
    float keys = 0, values = 0, all = 0;
    for (std::int64_t r = 0; r < 5; ++r)
      keys += shaw.keys.grad()[r * kD + d], values += shaw.values.grad()[r * kD + d];
    for (std::int64_t x = d; x < dout.numel(); x += kD) all += dout[x];
    EXPECT_NEAR(keys, 0.0f, 1e-5f);
    EXPECT_NEAR(values, all, 1e-5f);
  }
}

TEST(Shaw, RefusesWhatDoesNotFit) {
  AttentionOptions options;
  options.heads = 2;
  const Var q(Tensor::zeros({1, 4, 6}));
  const auto add = [&](const Tensor& keys, const Tensor& values) {
    AttentionOptions copy = options;
    add_shaw({}, {.K = 2, .keys = Var(keys), .values = Var(values)}, q, 4, 3, copy);
  };
  EXPECT_NO_THROW(add(Tensor::zeros({5, 3}), Tensor::zeros({2, 5, 3})));
  EXPECT_THROW(add(Tensor::zeros({4, 3}), Tensor::zeros({5, 3})), Error);
  EXPECT_THROW(add(Tensor::zeros({5, 3}), Tensor::zeros({5, 4})), Error);
  EXPECT_THROW(add(Tensor::zeros({3, 5, 3}), Tensor::zeros({5, 3})), Error);
  EXPECT_THROW(shaw_gather(-1, ShawOrder::key_minus_query, 4, 4), Error);
  EXPECT_THROW(shaw_gather(2, ShawOrder::key_minus_query, 0, 4), Error);
  EXPECT_THROW(shaw_gather(2, ShawOrder::key_minus_query, 4, -3), Error);
  try {
    add(Tensor::zeros({4, 3}), Tensor::zeros({5, 3}));
  } catch (const Error& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("shaw"), std::string::npos) << text;
    EXPECT_NE(text.find("(4, 3)"), std::string::npos) << text;
    EXPECT_NE(text.find("(5, 3)"), std::string::npos) << text;
  }
}

}  // namespace shaw_test
}  // namespace locant
