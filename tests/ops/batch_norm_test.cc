#include "ops/batch_norm.h"

#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace batch_norm_test {

using testing::at;
using testing::random_tensor;

// Channel of each number of a shape.
std::vector<std::size_t> channels_of(const Shape& shape, ChannelAxis axis) {
  std::int64_t inner = 1;
  for (int a = 2; axis == ChannelAxis::second && a < shape.rank(); ++a) inner *= shape[a];
  const std::int64_t C = axis == ChannelAxis::second ? shape[1] : shape[-1];
  std::vector<std::size_t> out;
  for (std::int64_t i = 0; i < shape.numel(); ++i) out.push_back(at(i / inner % C));
  return out;
}

// (x - mean) / sqrt(var + eps) * weight + bias; statistics of the batch unless given.
struct BatchNorm {
  std::vector<std::size_t> channel;
  std::size_t C;
  double eps;
  std::vector<double> running_mean, running_var;  // empty: training

  template <class T>
  void statistics(const std::vector<T>& x, std::vector<T>& mean, std::vector<T>& var) const {
    mean.assign(C, 0);
    var.assign(C, 0);
    const double count = static_cast<double>(x.size() / C);
    for (std::size_t i = 0; i < x.size(); ++i) mean[channel[i]] += x[i] / count;
    for (std::size_t i = 0; i < x.size(); ++i)
      var[channel[i]] += (x[i] - mean[channel[i]]) * (x[i] - mean[channel[i]]) / count;
  }

  template <class T>
  std::vector<T> operator()(const testing::Values<T>& in) const {
    std::vector<T> y = in[0], mean(running_mean.begin(), running_mean.end()),
                   var(running_var.begin(), running_var.end());
    if (mean.empty()) statistics(in[0], mean, var);
    for (std::size_t i = 0; i < y.size(); ++i) {
      const std::size_t c = channel[i];
      y[i] = (y[i] - mean[c]) / std::sqrt(var[c] + eps);
      if (in.size() > 1) y[i] = y[i] * in[1][c] + in[2][c];
    }
    return y;
  }
};

const std::pair<Shape, ChannelAxis> kCases[] = {
    {{2, 3, 5}, ChannelAxis::second}, {{3, 2, 4, 17}, ChannelAxis::second},
    {{17, 2}, ChannelAxis::second},   {{2, 1, 1, 1, 2}, ChannelAxis::second},
    {{2, 3, 5}, ChannelAxis::last},   {{2, 70, 3}, ChannelAxis::last},
    {{4, 17}, ChannelAxis::last},     {{2, 2, 3, 1}, ChannelAxis::last}};

/// The op against its formula: the result and all gradients, with `train` as given.
void check(const Shape& shape, ChannelAxis axis, bool train, bool affine) {
  SCOPED_TRACE(shape.str());
  const std::int64_t C = axis == ChannelAxis::last ? shape[-1] : shape[1];
  std::vector<Tensor> inputs = {random_tensor(shape, 1)};
  if (affine) {
    inputs.push_back(random_tensor({C}, 2));
    inputs.push_back(random_tensor({C}, 3));
  }
  const Tensor mean = random_tensor({C}, 4), var = Tensor::full({C}, 0.75f);
  // A large eps: with two numbers a channel and a small one the gradient is all rounding.
  const BatchNormOptions options{.eps = 0.125f, .channels = axis};
  BatchNorm reference{channels_of(shape, axis), at(C), 0.125, {}, {}};
  if (!train) {
    reference.running_mean = testing::to_double(mean);
    reference.running_var = testing::to_double(var);
  }
  testing::expect_op(
      train ? "train" : "eval", inputs,
      [&](Context ctx, const auto& v) {
        ctx.train = train;
        Tensor moving_mean = mean.clone(), moving_var = var.clone();
        return batch_norm(ctx, v[0], v.size() > 1 ? v[1] : Var(), v.size() > 1 ? v[2] : Var(), moving_mean,
                          moving_var, options);
      },
      reference, testing::Derivative::complex_step, 5e-6);
}

TEST(BatchNorm, ResultAndGradients) {
  for (const auto& [shape, axis] : kCases)
    for (const bool train : {false, true})
      for (const bool affine : {false, true}) check(shape, axis, train, affine);
}

TEST(BatchNorm, RunningStatistics) {
  for (const auto& [shape, axis] : kCases) {
    const std::int64_t C = axis == ChannelAxis::last ? shape[-1] : shape[1];
    Tensor x = random_tensor(shape, 1);
    for (float& v : x.values()) v += 100.0f;  // sums of squares would lose the variance
    Tensor mean = random_tensor({C}, 2), var = Tensor::full({C}, 2.0f);
    const Tensor mean_before = mean.clone(), kept = mean;
    batch_norm({}, Var(x), Var(), Var(), mean, var, {.momentum = 0.25f, .channels = axis});
    EXPECT_EQ(mean[0], mean_before[0]);  // inference moves nothing
    batch_norm({.train = true}, Var(x), Var(), Var(), mean, var, {.momentum = 0.25f, .channels = axis});
    const BatchNorm reference{channels_of(shape, axis), at(C), 0, {}, {}};
    std::vector<double> batch_mean, batch_var;
    reference.statistics(testing::to_double(x), batch_mean, batch_var);
    const double count = static_cast<double>(shape.numel() / C);
    for (std::int64_t c = 0; c < C; ++c) {
      EXPECT_NEAR(mean[c], 0.75 * static_cast<double>(mean_before[c]) + 0.25 * batch_mean[at(c)], 1e-5);
      EXPECT_NEAR(var[c], 1.5 + 0.25 * batch_var[at(c)] * count / (count - 1), 1e-5);
    }
    EXPECT_EQ(kept.data(), mean.data());  // in place: whoever shares the numbers sees them move
  }
}

TEST(BatchNorm, BorrowedStatisticsAreNotWritten) {
  const std::vector<float> owned = {1.0f, 2.0f};
  Tensor mean = Tensor::borrowed({2}, owned.data(), nullptr), var = Tensor::full({2}, 1.0f);
  batch_norm({.train = true}, Var(random_tensor({3, 2}, 1)), Var(), Var(), mean, var);
  EXPECT_EQ(owned[0], 1.0f);
  EXPECT_NE(mean[0], 1.0f);
}

TEST(BatchNorm, LargeForAnyThreads) {
  const int before = num_threads();
  for (const auto axis : {ChannelAxis::second, ChannelAxis::last}) {
    const Shape shape = axis == ChannelAxis::last ? Shape{4, 40, 40, 24} : Shape{4, 24, 40, 40};
    const Tensor x = random_tensor(shape, 1);
    const BatchNorm reference{channels_of(shape, axis), 24, 1e-5, {}, {}};
    Tensor first;
    for (const int threads : {1, 2, 3}) {
      set_num_threads(threads);
      Tensor mean = Tensor::zeros({24}), var = Tensor::full({24}, 1.0f);
      const Tensor y =
          batch_norm({.train = true}, Var(x), Var(), Var(), mean, var, {.eps = 1e-5f, .channels = axis})
              .value();
      if (threads == 1) first = y;
      EXPECT_TRUE(std::equal(y.values().begin(), y.values().end(), first.values().begin()));
      testing::expect_close(y, reference(testing::Values<double>{testing::to_double(x)}), 3e-6, "result");
    }
  }
  set_num_threads(before);
}

TEST(BatchNorm, BadShapesAreErrors) {
  Tensor mean = Tensor::zeros({3}), var = Tensor::full({3}, 1.0f), short_one = Tensor::zeros({2});
  const Var x(Tensor::zeros({2, 3, 4})), ok(Tensor::zeros({3})), bad(Tensor::zeros({4}));
  const Context train{.train = true};
  EXPECT_NO_THROW(batch_norm({}, x, ok, ok, mean, var));
  EXPECT_THROW(batch_norm({}, x, bad, ok, mean, var), Error);
  EXPECT_THROW(batch_norm({}, x, ok, bad, mean, var), Error);
  EXPECT_THROW(batch_norm({}, x, ok, ok, short_one, var), Error);
  EXPECT_THROW(batch_norm({}, x, ok, ok, mean, short_one), Error);
  EXPECT_THROW(batch_norm({}, x, ok, ok, mean, var, {.channels = ChannelAxis::last}), Error);
  EXPECT_THROW(batch_norm({}, Var(Tensor::zeros({3})), ok, ok, mean, var), Error);
  EXPECT_THROW(batch_norm(train, Var(Tensor::zeros({1, 3})), ok, ok, mean, var), Error);
}

TEST(BatchNorm, WeightOrBiasAlone) {
  const Shape shape{3, 2, 5};
  const Tensor mean = random_tensor({2}, 4), var = Tensor::full({2}, 0.75f);
  const BatchNorm train{channels_of(shape, ChannelAxis::second), 2, 0.125, {}, {}};
  for (const bool weight : {false, true})
    testing::expect_op(
        weight ? "weight" : "bias", {random_tensor(shape, 1), random_tensor({2}, 2)},
        [&](Context ctx, const auto& v) {
          ctx.train = true;
          Tensor moving_mean = mean.clone(), moving_var = var.clone();
          return batch_norm(ctx, v[0], weight ? v[1] : Var(), weight ? Var() : v[1], moving_mean, moving_var,
                            {.eps = 0.125f});
        },
        [&](const auto& in) {
          auto parts = in;
          parts.push_back(in[1]);
          for (auto& v : parts[weight ? 2 : 1]) v = weight ? 0.0 : 1.0;
          return train(parts);
        });
}

TEST(BatchNorm, GradientsForAnyThreads) {
  for (const auto axis : {ChannelAxis::second, ChannelAxis::last})
    for (const bool train : {false, true})
      testing::expect_same_for_threads(
          train ? "train" : "eval",
          {random_tensor({6, 17, 40, 17}, 1), random_tensor({17}, 2), random_tensor({17}, 3)},
          [&](Context ctx, const auto& v) {
            ctx.train = train;
            Tensor mean = Tensor::zeros({17}), var = Tensor::full({17}, 1.0f);
            return batch_norm(ctx, v[0], v[1], v[2], mean, var, {.channels = axis});
          });
}

}  // namespace batch_norm_test
}  // namespace locant
