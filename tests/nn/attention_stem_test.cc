#include "nn/attention_stem.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/gradcheck.h"
#include "tests/support/plain_attention_stem.h"

namespace locant {
namespace attention_stem_test {

using Numbers = std::map<std::string, std::vector<double>>;

constexpr AttentionStem::Options kSmall{.in = 2, .out = 4, .heads = 2, .mixtures = 3, .block = 2};
const testing::PlainAttentionStem kPlain{.in = 2, .out = 4, .heads = 2, .mixtures = 3, .block = 2};

// Values, and the gradient of every number, of blocks of 2 x 2 on 4 x 6 pixels.
TEST(AttentionStem, IsThePapersFormula) {
  RandomSource source(3);
  const Weights w(source, WeightMode::train);
  const AttentionStem layer(w, kSmall);
  const Var x(testing::random_tensor({1, 2, 4, 6}, 2), true);
  Numbers numbers;
  for (const Parameter& p : w.parameters()) numbers[p.name] = testing::to_double(p.value.value());
  const std::vector<double> given = testing::to_double(x.value());

  Tape tape;
  const Var got = layer(Context{&tape, false, nullptr, nullptr}, x);
  EXPECT_EQ(got.shape(), (Shape{1, 4, 4, 6}));
  testing::expect_close(got.value(), kPlain(numbers, "", given, 4, 6), 5e-6, "output");
  const Tensor weights = testing::random_tensor(got.shape(), 9);
  tape.backward({{got, weights}});
  const auto loss = [&](const Numbers& n, const std::vector<double>& in) {
    double sum = 0;
    const std::vector<double> y = kPlain(n, "", in, 4, 6);
    for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * weights[static_cast<std::int64_t>(i)];
    return sum;
  };
  testing::expect_close(
      x.grad(), testing::difference_gradient([&](const auto& in) { return loss(numbers, in); }, given), 2e-5,
      "gradient of images");
  for (const Parameter& p : w.parameters()) {
    const auto of = [&](const std::vector<double>& part) {
      Numbers changed = numbers;
      changed[p.name] = part;
      return loss(changed, given);
    };
    testing::expect_close(p.value.grad(), testing::difference_gradient(of, numbers[p.name]), 2e-5,
                          p.name.c_str());
  }
}

// As the networks have it, packed too: blocks of 4 x 4, 8 heads, pictures of a batch by themselves.
TEST(AttentionStem, PackedIsPlainForEveryPicture) {
  const AttentionStem::Options options;
  const testing::PlainAttentionStem plain{.in = 3, .out = 64, .heads = 8};
  RandomSource source(4);
  const Weights w(source, WeightMode::train);
  const AttentionStem trained(w, options), packed(Weights(source, WeightMode::inference), options);
  Numbers numbers;
  for (const Parameter& p : w.parameters()) numbers[p.name] = testing::to_double(p.value.value());
  const Tensor x = testing::random_tensor({2, 3, 8, 4}, 5);
  std::vector<double> want;
  for (std::int64_t b = 0; b < 2; ++b) {
    const std::vector<double> picture(x.data() + b * 96, x.data() + (b + 1) * 96);
    for (const double y : plain(numbers, "", picture, 8, 4)) want.push_back(y);
  }
  testing::expect_close(trained({}, Var(x)).value(), want, 5e-6, "plain");
  testing::expect_close(packed({}, Var(x)).value(), want, 5e-6, "packed");
}

TEST(AttentionStem, RefusesWhatCannotBe) {
  RandomSource source(1);
  const Weights w(source, WeightMode::train);
  EXPECT_THROW(AttentionStem(w, {.in = 3, .out = 8, .heads = 3}), Error);
  EXPECT_THROW(AttentionStem(w, {.in = 0, .out = 8, .heads = 2}), Error);
  EXPECT_THROW(AttentionStem(w, {.in = 3, .out = 8, .heads = 2, .mixtures = 0}), Error);
  EXPECT_THROW(AttentionStem(w, {.in = 3, .out = 8, .heads = 2, .block = 0}), Error);
  const AttentionStem layer(w, {.in = 3, .out = 8, .heads = 2});
  EXPECT_THROW(layer({}, Var(Tensor::zeros({1, 2, 4, 4}))), Error);
  EXPECT_THROW(layer({}, Var(Tensor::zeros({3, 4, 4}))), Error);
  try {
    layer({}, Var(Tensor::zeros({1, 3, 8, 7})));
    FAIL() << "8 x 7 pixels are no blocks";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("nearest size is 8 x 8"), std::string::npos) << error.what();
  }
}

}  // namespace attention_stem_test
}  // namespace locant
