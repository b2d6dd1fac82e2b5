#include "nn/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"

namespace locant {
namespace weights_test {

/// Lends numbers and counts what comes back.
class LendingSource final : public WeightSource {
 public:
  Tensor get(const std::string&, const Shape& shape, const Init&) override {
    numbers_ = std::vector<float>(static_cast<std::size_t>(shape.numel()), 2.0f);
    return Tensor::borrowed(shape, numbers_.data(), nullptr);
  }
  void release(const std::string& name) override { released.push_back(name); }
  std::vector<std::string> released;

 private:
  std::vector<float> numbers_;
};

TEST(Weights, PathsJoinWithDots) {
  ShapeSource source;
  const Weights root(source, WeightMode::shapes);
  EXPECT_EQ((root / "blocks" / 3 / "attn").path("qkv"), "blocks.3.attn.qkv");
  EXPECT_EQ((root / "norm").path(), "norm");
  EXPECT_EQ(root.path("head"), "head");
}

TEST(Weights, KeepsEveryRequestInOrder) {
  ShapeSource source;
  const Weights root(source, WeightMode::shapes);
  (root / "b").get("weight", {3, 2}, Init::zeros());
  (root / "a").take("bias", {3}, Init::zeros());
  ASSERT_EQ(root.parameters().size(), 2u);
  EXPECT_EQ(root.parameters()[0].name, "b.weight");
  EXPECT_EQ(root.parameters()[0].shape, (Shape{3, 2}));
  EXPECT_EQ(root.parameters()[1].name, "a.bias");
}

TEST(Weights, TrainingValuesAreLeavesOfTheirOwn) {
  LendingSource source;
  const Weights root(source, WeightMode::train);
  const Var value = (root / "x").get("weight", {4}, Init::zeros());
  EXPECT_TRUE(value.requires_grad());
  EXPECT_FALSE(value.value().is_borrowed());
  EXPECT_EQ(source.released, std::vector<std::string>{"x.weight"});
  EXPECT_THROW((root / "x").take("bias", {4}, Init::zeros()), Error);
}

TEST(Weights, InferenceTakesWhatIsLent) {
  LendingSource source;
  const Weights root(source, WeightMode::inference);
  EXPECT_TRUE(root.take("weight", {4}, Init::zeros()).is_borrowed());
  EXPECT_TRUE(source.released.empty());
  root.release("weight");
  EXPECT_EQ(source.released, std::vector<std::string>{"weight"});
}

TEST(RandomSource, DependsOnNameAndSeedAlone) {
  RandomSource one(7), other(7), different(8);
  const Init init = Init::trunc_normal(0.02f);
  const Tensor a = one.get("a", {64}, init), b = one.get("b", {64}, init);
  const Tensor b_first = other.get("b", {64}, init);
  const auto same = [](const Tensor& x, const Tensor& y) {
    return std::equal(x.values().begin(), x.values().end(), y.values().begin());
  };
  EXPECT_TRUE(same(b, b_first));
  EXPECT_FALSE(same(a, b));
  EXPECT_FALSE(same(a, different.get("a", {64}, init)));
}

TEST(RandomSource, FollowsTheDistribution) {
  RandomSource source(1);
  const auto moments = [&](const char* name, const Init& init) {
    const Tensor x = source.get(name, {20000}, init);
    double sum = 0, square = 0, largest = 0;
    for (const float v : x.values())
      sum += v, square += static_cast<double>(v) * v,
          largest = std::max(largest, std::abs(static_cast<double>(v)));
    return std::array<double, 3>{sum / 20000, std::sqrt(square / 20000), largest};
  };
  const auto normal = moments("n", Init::normal(0.5f));
  EXPECT_NEAR(normal[0], 0.0, 0.015);
  EXPECT_NEAR(normal[1], 0.5, 0.01);
  const auto truncated = moments("t", Init::trunc_normal(1.0f));
  EXPECT_LE(truncated[2], 2.0);
  EXPECT_NEAR(truncated[1], 0.8796, 0.01);  // of a standard normal cut at 2
  const auto uniform = moments("u", Init::fan_in(16));
  EXPECT_LE(uniform[2], 0.25);
  EXPECT_NEAR(uniform[1], 0.25 / std::sqrt(3.0), 0.003);
  EXPECT_EQ(moments("c", Init::constant(3.0f))[0], 3.0);
}

}  // namespace weights_test
}  // namespace locant
