#include "nn/axial_attention.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "core/error.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace axial_attention_test {

using testing::random_tensor;

AxialAttention::Options options_of(GridAxis axis) {
  AxialAttention::Options options;
  options.in = 6, options.out = 8, options.groups = 2, options.span = 5, options.axis = axis;
  return options;
}

// Numbers kept by name, random at the start and not trivial in any norm.
class Kept final : public WeightSource {
 public:
  Tensor get(const std::string& name, const Shape& shape, const Init&) override {
    const auto [at, fresh] = numbers.emplace(name, Tensor());
    if (fresh) {
      at->second = random_tensor(shape, std::hash<std::string>()(name) % 1000, 0.5f);
      const bool around_one =
          name.find("running_var") != std::string::npos ||
          (name.find("bn_") != std::string::npos && name.find("weight") != std::string::npos);
      for (float& x : at->second.values())
        if (around_one) x += 1.0f;
    }
    return at->second.clone();
  }
  std::map<std::string, Tensor> numbers;
};

float loss(const Tensor& y, const Tensor& r) {
  double sum = 0;
  for (std::int64_t i = 0; i < y.numel(); ++i) sum += double(y[i]) * r[i];
  return static_cast<float>(sum);
}

// Training moves the running statistics towards those of the batch, and after many steps they are these.
// Evaluation must then give what training gave: the folded form is the composed one.
TEST(AxialAttention, EvaluationWithTheBatchsStatisticsIsTraining) {
  for (const GridAxis axis : {GridAxis::rows, GridAxis::columns}) {
    Kept kept;
    const Weights w(kept, WeightMode::train);
    const AxialAttention layer(w, options_of(axis));
    const Var x(random_tensor({3, 6, axis == GridAxis::rows ? 5 : 2, axis == GridAxis::rows ? 2 : 5}, 2));
    const Context train{nullptr, true, nullptr, nullptr};
    Tensor trained;
    for (int step = 0; step < 200; ++step) trained = layer(train, x).value();
    for (const Parameter& p : w.parameters()) {
      kept.numbers[p.name] = p.value.value().clone();
      if (p.name.find("running_var") == std::string::npos) continue;
      // The running variance is the unbiased one, of 6 lines x 5 places, for the logits 6 x 5 x 5.
      const float count = p.name.find("similarity") != std::string::npos ? 150.0f : 30.0f;
      for (float& v : kept.numbers[p.name].values()) v *= (count - 1) / count;
    }
    const Weights again(kept, WeightMode::train);
    const AxialAttention evaluated(again, options_of(axis));
    testing::expect_close(evaluated({}, x).value(), testing::to_double(trained), 3e-5, "result");
  }
}

// Along a random direction of everything at once, in training and in evaluation.
TEST(AxialAttention, GradientsAreDirectionalDerivatives) {
  for (const bool train : {false, true}) {
    Kept kept;
    const Tensor x = random_tensor({2, 6, 5, 3}, 2), r = random_tensor({2, 8, 5, 3}, 3);
    const auto run = [&](float step, std::vector<Tensor>* gradients) {
      const Weights w(kept, WeightMode::train);
      const AxialAttention layer(w, options_of(GridAxis::rows));
      std::uint64_t seed = 10;
      std::vector<std::pair<Var, Tensor>> moved;
      for (const Parameter& p : w.parameters()) {
        if (!p.value.requires_grad()) continue;
        Tensor there = p.value.value().clone(), way = random_tensor(p.shape, ++seed);
        for (std::int64_t i = 0; i < there.numel(); ++i) there[i] += step * way[i];
        Var(p.value).assign(there);
        moved.emplace_back(p.value, way);
      }
      Tensor at = x.clone(), way = random_tensor(x.shape(), 9);
      for (std::int64_t i = 0; i < at.numel(); ++i) at[i] += step * way[i];
      const Var leaf(at, true);
      moved.emplace_back(leaf, way);
      Tape tape;
      const Context ctx{&tape, train, nullptr, nullptr};
      const Var y = layer(ctx, leaf);
      const float value = loss(y.value(), r);
      if (gradients == nullptr) return value;
      tape.backward({{y, r}});
      double sum = 0;
      for (const auto& [var, direction] : moved)
        if (var.grad().defined()) sum += loss(var.grad(), direction);
      gradients->push_back(Tensor::full({1}, static_cast<float>(sum)));
      return value;
    };
    std::vector<Tensor> slope;
    run(0.0f, &slope);
    constexpr float kStep = 4e-3f;
    const float difference = (run(kStep, nullptr) - run(-kStep, nullptr)) / (2 * kStep);
    EXPECT_NEAR(slope.at(0)[0], difference, 5e-3f * std::abs(difference))
        << (train ? "training" : "evaluation");
  }
}

// Lines shorter than the span read the middle of the table: as if cut from it.
TEST(AxialAttention, ShortLinesUseTheMiddleOfTheTable) {
  Kept kept;
  const Weights w(kept, WeightMode::train);
  const Tensor whole =
      AxialAttention(w, options_of(GridAxis::rows))({}, Var(random_tensor({1, 6, 3, 2}, 2))).value();
  const Tensor& table = kept.numbers.at("relative");  // (8, 9), of which offsets -2..2 stay
  Tensor middle({8, 5});
  for (std::int64_t i = 0; i < 40; ++i) middle[i] = table[i / 5 * 9 + i % 5 + 2];
  kept.numbers["relative"] = middle;
  AxialAttention::Options options = options_of(GridAxis::rows);
  options.span = 3;
  const Weights again(kept, WeightMode::train);
  testing::expect_close(AxialAttention(again, options)({}, Var(random_tensor({1, 6, 3, 2}, 2))).value(),
                        testing::to_double(whole), 2e-6, "result");
}

TEST(AxialAttention, RefusesWhatDoesNotFit) {
  Kept kept;
  const Weights w(kept, WeightMode::shapes);
  const auto make = [&](std::int64_t AxialAttention::Options::*member, std::int64_t value) {
    AxialAttention::Options options = options_of(GridAxis::rows);
    options.*member = value;
    return AxialAttention(w, options);
  };
  EXPECT_THROW(make(&AxialAttention::Options::groups, 3), Error);
  EXPECT_THROW(make(&AxialAttention::Options::groups, 8), Error);
  EXPECT_THROW(make(&AxialAttention::Options::span, 0), Error);
  EXPECT_THROW(make(&AxialAttention::Options::stride, 0), Error);
  Kept fresh;
  const Weights real(fresh, WeightMode::train);
  const AxialAttention layer(real, options_of(GridAxis::rows));
  EXPECT_THROW(layer({}, Var(Tensor::zeros({1, 6, 6, 2}))), Error);  // longer than the span
  EXPECT_THROW(layer({}, Var(Tensor::zeros({1, 5, 5, 2}))), Error);
  EXPECT_THROW(AxialBlock(real, {.in = 6, .planes = 8, .groups = 2, .span = 5}), Error);  // nothing to add
}

}  // namespace axial_attention_test
}  // namespace locant
