// AdamW, gradient clipping, the learning-rate schedule and the average of weights.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "tests/support/gradcheck.h"
#include "train/adamw.h"
#include "train/ema.h"
#include "train/schedule.h"

namespace locant {
namespace optimizer_test {

using testing::random_tensor;

Parameter parameter(const std::string& name, const Shape& shape, std::uint64_t seed) {
  return {name, shape, Var(random_tensor(shape, seed), true)};
}

void set_gradient(const Parameter& p, Tensor gradient) {
  Var value = p.value;
  value.clear_grad();
  value.accumulate(std::move(gradient));
}

std::vector<float> numbers(const Parameter& p) {
  return {p.value.value().values().begin(), p.value.value().values().end()};
}

// The equations of Loshchilov and Hutter, one number at a time in double.
struct ReferenceAdamW {
  std::vector<double> w, m, v;
  int t = 0;
  void step(const Tensor& g, double lr, double decay, double scale) {
    ++t;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double gi = scale * static_cast<double>(g[static_cast<std::int64_t>(i)]);
      w[i] -= lr * decay * w[i];
      m[i] = 0.9 * m[i] + 0.1 * gi;
      v[i] = 0.999 * v[i] + 0.001 * gi * gi;
      const double m_hat = m[i] / (1 - std::pow(0.9, t)), v_hat = v[i] / (1 - std::pow(0.999, t));
      w[i] -= lr * m_hat / (std::sqrt(v_hat) + 1e-8);
    }
  }
};

TEST(AdamW, AgreesWithTheEquationsOverSteps) {
  const std::vector<Parameter> parameters{parameter("fc.weight", {300, 70}, 1),
                                          parameter("fc.bias", {70}, 2)};
  AdamWOptions options;
  options.weight_decay = 0.3;
  AdamW optimizer(parameters, options);
  std::vector<ReferenceAdamW> references;
  for (const Parameter& p : parameters) {
    const std::vector<double> w = testing::to_double(p.value.value());
    references.push_back({w, std::vector<double>(w.size()), std::vector<double>(w.size())});
  }
  for (int step = 0; step < 7; ++step) {
    const double lr = 0.01 * (step + 1), scale = step % 2 == 0 ? 1.0 : 0.25;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Tensor g =
          random_tensor(parameters[i].shape, 100 + 10 * static_cast<std::uint64_t>(step) + i, 0.5f);
      set_gradient(parameters[i], g);
      references[i].step(g, lr, i == 0 ? 0.3 : 0.0, scale);
    }
    optimizer.step(lr, scale);
    for (std::size_t i = 0; i < parameters.size(); ++i)
      testing::expect_close(parameters[i].value.value(), references[i].w, 2e-6, parameters[i].name.c_str());
  }
}

TEST(AdamW, LeavesParametersWithoutGradientAlone) {
  const std::vector<Parameter> parameters{parameter("a.weight", {5, 4}, 1), parameter("b.weight", {5, 4}, 2)};
  AdamW optimizer(parameters, {});
  const std::vector<float> before = numbers(parameters[1]);
  set_gradient(parameters[0], random_tensor({5, 4}, 3));
  optimizer.step(0.1);
  EXPECT_EQ(numbers(parameters[1]), before);
  EXPECT_NE(numbers(parameters[0])[0], before[0]);
}

TEST(AdamW, DecaysMatricesOnly) {
  const auto decays = [](const std::string& name, const Shape& shape) {
    return AdamW({parameter(name, shape, 1)}, {}).decays(0);
  };
  EXPECT_TRUE(decays("layers.0.blocks.1.attn.qkv.weight", {12, 4}));
  EXPECT_TRUE(decays("patch_embed.proj.weight", {8, 3, 2, 2}));
  EXPECT_FALSE(decays("norm.weight", {8}));
  EXPECT_FALSE(decays("layers.0.blocks.1.attn.qkv.bias", {12}));
  EXPECT_FALSE(decays("layers.0.blocks.1.attn.relative_position_bias_table", {169, 3}));
  EXPECT_FALSE(decays("absolute_pos_embed", {1, 49, 8}));
  EXPECT_FALSE(decays("pos_embed", {1, 50, 8}));
  EXPECT_FALSE(decays("cls_token", {1, 1, 8}));
  EXPECT_FALSE(decays("register_tokens", {1, 4, 8}));
  AdamWOptions options;
  options.no_decay = {"head.*"};
  EXPECT_FALSE(AdamW({parameter("head.weight", {4, 4}, 1)}, options).decays(0));
  EXPECT_TRUE(AdamW({parameter("cls_token", {1, 1, 8}, 1)}, options).decays(0));
}

TEST(AdamW, HasTheSameBitsForAnyNumberOfThreads) {
  const int before = num_threads();
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    const std::vector<Parameter> parameters{parameter("a.weight", {400, 100}, 1),
                                            parameter("b.weight", {7, 3}, 2)};
    AdamW optimizer(parameters, {});
    for (int step = 0; step < 3; ++step) {
      for (const Parameter& p : parameters)
        set_gradient(p, random_tensor(p.shape, 5 + static_cast<std::uint64_t>(step)));
      optimizer.step(0.01, clip_factor(gradient_norm(parameters), 0.5));
    }
    results.push_back(numbers(parameters[0]));
  }
  set_num_threads(before);
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST(AdamW, ContinuesFromItsMoments) {
  const auto gradient = [](int step) { return random_tensor({6, 5}, 40 + static_cast<std::uint64_t>(step)); };
  const std::vector<Parameter> straight{parameter("a.weight", {6, 5}, 1)},
      resumed{parameter("a.weight", {6, 5}, 1)};
  AdamW first(straight, {}), second(resumed, {});
  std::vector<std::pair<std::string, Tensor>> kept;
  for (int step = 0; step < 4; ++step) {
    set_gradient(straight[0], gradient(step));
    first.step(0.01);
    if (step > 1) continue;
    set_gradient(resumed[0], gradient(step));
    second.step(0.01);
  }
  AdamW third(resumed, {});
  const auto moments = second.moments();
  third.restore(second.steps(), [&](const std::string& name) {
    for (const auto& [key, tensor] : moments)
      if (key == name) return tensor;
    return Tensor();
  });
  for (int step = 2; step < 4; ++step) {
    set_gradient(resumed[0], gradient(step));
    third.step(0.01);
  }
  EXPECT_EQ(numbers(resumed[0]), numbers(straight[0]));
  EXPECT_THROW(third.restore(1, [](const std::string&) { return Tensor(); }), Error);
}

TEST(AdamW, RefusesBadOptions) {
  AdamWOptions options;
  options.beta2 = 1.0;
  EXPECT_THROW(AdamW({parameter("a", {2}, 1)}, options), Error);
  EXPECT_THROW(AdamW({{"a", {2}, Var()}}, {}), Error);
}

TEST(Clipping, BoundsTheGlobalNorm) {
  const std::vector<Parameter> parameters{parameter("a", {2}, 1), parameter("b", {1, 2}, 2),
                                          parameter("c", {3}, 3)};
  set_gradient(parameters[0], Tensor::from({2}, std::vector<float>{3.0f, 0.0f}));
  set_gradient(parameters[1], Tensor::from({1, 2}, std::vector<float>{0.0f, -4.0f}));
  EXPECT_DOUBLE_EQ(gradient_norm(parameters), 5.0);  // c has none
  EXPECT_DOUBLE_EQ(clip_factor(5.0, 10.0), 1.0);
  EXPECT_DOUBLE_EQ(clip_factor(5.0, 0.0), 1.0);
  EXPECT_NEAR(clip_factor(5.0, 1.0) * 5.0, 1.0, 1e-6);
}

TEST(Patterns, MatchShellStars) {
  EXPECT_TRUE(matches_pattern("*pos_embed*", "encoder.pos_embed"));
  EXPECT_TRUE(matches_pattern("*bias", "a.bias"));
  EXPECT_TRUE(matches_pattern("a*b*c", "a.b.b.c"));
  EXPECT_FALSE(matches_pattern("*bias", "a.bias.weight"));
  EXPECT_FALSE(matches_pattern("bias", "a.bias"));
  EXPECT_TRUE(matches_pattern("*", ""));
}

TEST(CosineSchedule, WarmsUpAndFalls) {
  const CosineSchedule schedule{1.0, 0.1, 4, 12};
  EXPECT_DOUBLE_EQ(schedule.at(0), 0.25);
  EXPECT_DOUBLE_EQ(schedule.at(3), 1.0);
  EXPECT_DOUBLE_EQ(schedule.at(4), 1.0);
  EXPECT_NEAR(schedule.at(8), 0.1 + 0.9 * 0.5, 1e-15);
  EXPECT_NEAR(schedule.at(10), 0.1 + 0.9 * 0.5 * (1 - std::sqrt(0.5)), 1e-15);
  for (int step = 5; step < 12; ++step) EXPECT_LT(schedule.at(step), schedule.at(step - 1));
  EXPECT_GT(schedule.at(11), 0.1);
  EXPECT_THROW(schedule.at(12), Error);
  EXPECT_THROW(schedule.at(-1), Error);
  EXPECT_THROW((CosineSchedule{1.0, 0.0, 13, 12}.at(0)), Error);
  EXPECT_DOUBLE_EQ((CosineSchedule{1.0, 0.0, 0, 1}.at(0)), 1.0);
}

TEST(Ema, FollowsItsRecurrence) {
  const std::vector<Parameter> parameters{parameter("a", {3}, 1)};
  Ema ema(parameters, 0.9);
  std::vector<double> average = testing::to_double(parameters[0].value.value());
  for (int n = 0; n < 20; ++n) {
    Tensor value = parameters[0].value.value();
    for (float& x : value.values()) x += 0.1f;
    const double d = std::min(0.9, (1.0 + n) / (10.0 + n));
    for (std::size_t i = 0; i < 3; ++i)
      average[i] = d * average[i] + (1 - d) * static_cast<double>(value[static_cast<std::int64_t>(i)]);
    ema.update();
  }
  testing::expect_close(ema.averages()[0].second, average, 1e-6, "average");
  EXPECT_DOUBLE_EQ(Ema(parameters, 0.9, false).decay_at(0), 0.9);
  EXPECT_THROW(Ema(parameters, 1.0), Error);
}

TEST(Ema, SwapsInAndOut) {
  const std::vector<Parameter> parameters{parameter("a", {3}, 1)};
  Ema ema(parameters, 0.9);
  const std::vector<float> old = numbers(parameters[0]);
  Tensor value = parameters[0].value.value();
  value.fill(7.0f);
  ema.swap();
  EXPECT_EQ(numbers(parameters[0]), old);
  ema.swap();
  EXPECT_EQ(numbers(parameters[0]), std::vector<float>(3, 7.0f));
}

}  // namespace optimizer_test
}  // namespace locant
