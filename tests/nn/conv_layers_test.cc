#include "nn/conv_layers.h"

#include <cmath>

#include "tests/support/gradcheck.h"

namespace locant {
namespace conv_layers_test {

using testing::random_tensor;

// Loading and averaging give a parameter other storage: the layer must follow.
TEST(BatchNorm, FollowsStatisticsThatAreAssigned) {
  RandomSource source(1);
  const Weights w(source, WeightMode::train);
  const BatchNorm norm(w / "bn", 3);
  const BatchNormNumbers numbers = BatchNorm(w / "numbers", 3).numbers();
  for (const Parameter& p : w.parameters()) {
    if (p.name.find("running_") == std::string::npos) continue;
    Tensor numbers({3});
    for (std::int64_t c = 0; c < 3; ++c) numbers[c] = 2.0f + static_cast<float>(c);
    Var(p.value).assign(numbers);
  }
  const Tensor x = random_tensor({2, 3, 4, 4}, 2);
  for (const Var& y : {norm(Context{}, Var(x)), numbers(Context{}, Var(x))})
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const float number = 2.0f + static_cast<float>(i / 16 % 3);
      EXPECT_NEAR(y.value()[i], (x[i] - number) / std::sqrt(number + 1e-5f), 1e-6f);
    }
  EXPECT_NEAR(norm.scale(Context{}).value()[1], 1.0f / std::sqrt(3.0f + 1e-5f), 1e-6f);
  EXPECT_NEAR(norm.shift(Context{}, norm.scale(Context{})).value()[1], -3.0f / std::sqrt(3.0f + 1e-5f),
              1e-6f);

  // And training moves what was assigned.
  Tape tape;
  Rng rng(1);
  norm(Context{&tape, true, &rng, nullptr}, Var(x));
  for (const Parameter& p : w.parameters())
    if (p.name == "bn.running_mean") {
      EXPECT_LT(p.value.value()[0], 1.9f);
    }
}

}  // namespace conv_layers_test
}  // namespace locant
