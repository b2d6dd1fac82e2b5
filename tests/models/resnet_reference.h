#pragma once

// A ResNet of bottleneck blocks number by number in float64, torchvision's names, for the families that put
// another layer in place of the 3x3 convolution of a block.

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/config_json.h"
#include "models/registry.h"
#include "nn/weights.h"
#include "tests/support/gradcheck.h"

namespace locant::testing {

/// Numbers everywhere, statistics too, of a size that shows: a random start has blocks that do nothing.
class EverywhereSource final : public WeightSource {
 public:
  Tensor get(const std::string& name, const Shape& shape, const Init&) override {
    const bool variance = name.find("running_var") != std::string::npos;
    const bool scale = shape.rank() == 1 && name.ends_with("weight");
    const auto fan_in = static_cast<float>(shape.rank() < 2 ? 9 : shape.numel() / shape[0]);
    Tensor out = RandomSource(7).get(name, shape, Init::normal(0.8f / std::sqrt(fan_in)));
    for (float& x : out.values()) x = variance ? 0.5f + x * x : scale ? 1.0f + x : x;
    return out;
  }
};

/// A model of EverywhereSource's numbers: the configuration `small`, `more` over it.
inline std::unique_ptr<Model> make_resnet(const char* family, const char* small, const std::string& more,
                                          WeightMode mode) {
  EverywhereSource source;
  return make_model(family, merge_config(small, more), Weights(source, mode));
}

/// Parameters without the running statistics: what papers count.
inline std::int64_t learnable(const std::vector<Parameter>& parameters) {
  std::int64_t out = 0;
  for (const Parameter& p : parameters)
    if (p.learned) out += p.shape.numel();
  return out;
}

struct ResnetReference {
  struct Map {
    std::int64_t C = 0, H = 0, W = 0;
    std::vector<double> v = {};
    Map() = default;
    Map(std::int64_t c, std::int64_t h, std::int64_t w)
        : C(c), H(h), W(w), v(static_cast<std::size_t>(c * h * w)) {}
    bool holds(std::int64_t y, std::int64_t x) const { return y >= 0 && x >= 0 && y < H && x < W; }
    double& at(std::int64_t c, std::int64_t y, std::int64_t x) {
      return v[static_cast<std::size_t>((c * H + y) * W + x)];
    }
    double at(std::int64_t c, std::int64_t y, std::int64_t x) const {
      return holds(y, x) ? v[static_cast<std::size_t>((c * H + y) * W + x)] : 0.0;
    }
  };
  /// The layer of these names on a map, with a stride.
  using Layer = std::function<Map(const ResnetReference&, const std::string&, const Map&, std::int64_t)>;

  std::map<std::string, std::vector<double>> tensors = {};
  std::vector<std::int64_t> depths = {};
  Layer layer = nullptr;
  std::function<Map(const ResnetReference&, const Map&)> stem = nullptr;  ///< none: a 3x3 convolution, a pool
  float eps = 1e-5f;

  explicit ResnetReference(const Model& model) {
    for (const Parameter& p : model.parameters()) tensors[p.name] = to_double(p.value.value());
  }
  double number(const std::string& name, std::int64_t i) const {
    return tensors.at(name)[static_cast<std::size_t>(i)];
  }
  std::int64_t size(const std::string& name) const {
    return static_cast<std::int64_t>(tensors.at(name).size());
  }

  Map conv(const std::string& name, const Map& x, std::int64_t k, std::int64_t stride = 1) const {
    const std::vector<double>& weight = tensors.at(name + ".weight");
    const std::int64_t out = size(name + ".weight") / (x.C * k * k);
    Map y(out, (x.H + stride - 1) / stride, (x.W + stride - 1) / stride);
    for (std::int64_t o = 0; o < out; ++o)
      for (std::int64_t r = 0; r < y.H; ++r)
        for (std::int64_t c = 0; c < y.W; ++c) {
          double sum = tensors.count(name + ".bias") != 0 ? number(name + ".bias", o) : 0.0;
          for (std::int64_t i = 0; i < x.C; ++i)
            for (std::int64_t u = 0; u < k; ++u)
              for (std::int64_t w = 0; w < k; ++w)
                sum += weight[static_cast<std::size_t>(((o * x.C + i) * k + u) * k + w)] *
                       x.at(i, r * stride + u - k / 2, c * stride + w - k / 2);
          y.at(o, r, c) = sum;
        }
    return y;
  }
  Map norm(const std::string& name, Map x) const {
    for (std::int64_t c = 0; c < x.C; ++c)
      for (std::int64_t i = 0; i < x.H * x.W; ++i) {
        double& value = x.v[static_cast<std::size_t>(c * x.H * x.W + i)];
        value = (value - number(name + ".running_mean", c)) /
                    std::sqrt(number(name + ".running_var", c) + eps) * number(name + ".weight", c) +
                number(name + ".bias", c);
      }
    return x;
  }
  static Map relu(Map x) {
    for (double& value : x.v) value = std::max(value, 0.0);
    return x;
  }
  /// Of the places of windows of k x k that start `pad` before every stride-th place: the largest or the
  /// mean.
  static Map pool(const Map& x, std::int64_t k, std::int64_t stride, std::int64_t pad, bool largest) {
    Map y(x.C, (x.H + 2 * pad - k) / stride + 1, (x.W + 2 * pad - k) / stride + 1);
    for (std::int64_t i = 0; i < y.C; ++i)
      for (std::int64_t r = 0; r < y.H; ++r)
        for (std::int64_t c = 0; c < y.W; ++c) {
          double most = -HUGE_VAL, sum = 0.0;
          int places = 0;
          for (std::int64_t u = 0; u < k; ++u)
            for (std::int64_t w = 0; w < k; ++w) {
              const std::int64_t row = r * stride + u - pad, column = c * stride + w - pad;
              if (!x.holds(row, column)) continue;
              most = std::max(most, x.at(i, row, column));
              sum += x.at(i, row, column);
              ++places;
            }
          y.at(i, r, c) = largest ? most : sum / places;
        }
    return y;
  }

  /// Logits of one picture; stages but the first halve.
  std::vector<double> logits(const Map& image) const {
    Map x = stem ? stem(*this, image) : pool(relu(norm("bn1", conv("conv1", image, 3, 2))), 3, 2, 1, true);
    for (std::size_t s = 0; s < depths.size(); ++s)
      for (std::int64_t b = 0; b < depths[s]; ++b) {
        const std::string at = "layer" + std::to_string(s + 1) + "." + std::to_string(b);
        const std::int64_t stride = s > 0 && b == 0 ? 2 : 1;
        const bool shortcut = tensors.count(at + ".downsample.0.weight") != 0;
        const Map skip = shortcut ? norm(at + ".downsample.1", conv(at + ".downsample.0", x, 1, stride)) : x;
        const Map narrow = relu(norm(at + ".bn1", conv(at + ".conv1", x, 1)));
        const bool plain = tensors.count(at + ".conv2.weight") != 0;
        const Map middle =
            plain ? conv(at + ".conv2", narrow, 3, stride) : layer(*this, at + ".conv2", narrow, stride);
        x = norm(at + ".bn3", conv(at + ".conv3", relu(norm(at + ".bn2", middle)), 1));
        for (std::size_t i = 0; i < x.v.size(); ++i) x.v[i] = std::max(0.0, x.v[i] + skip.v[i]);
      }
    std::vector<double> out;
    for (std::int64_t o = 0; o < size("fc.bias"); ++o) {
      out.push_back(number("fc.bias", o));
      for (std::int64_t c = 0; c < x.C; ++c) {
        double sum = 0.0;
        for (std::int64_t i = 0; i < x.H * x.W; ++i) sum += x.v[static_cast<std::size_t>(c * x.H * x.W + i)];
        out.back() += number("fc.weight", o * x.C + c) * sum / static_cast<double>(x.H * x.W);
      }
    }
    return out;
  }
};

/// Logits of the model, and the gradient of their weighted sum for every parameter along a random direction,
/// beside the reference's.
inline void expect_reference(const Model& model, ResnetReference reference, const Tensor& images) {
  using Map = ResnetReference::Map;
  std::vector<Map> pictures;
  for (std::int64_t b = 0; b < images.dim(0); ++b) {
    Map& picture = pictures.emplace_back(images.dim(1), images.dim(2), images.dim(3));
    const auto size = static_cast<std::int64_t>(picture.v.size());
    std::copy_n(images.data() + b * size, size, picture.v.begin());
  }
  const auto logits = [&] {
    std::vector<double> out;
    for (const Map& picture : pictures)
      for (const double x : reference.logits(picture)) out.push_back(x);
    return out;
  };
  Tape tape;
  const Var got = model.forward(Context{&tape, false, nullptr, nullptr}, Var(images));
  const std::vector<double> want = logits();
  expect_close(got.value(), want, 2e-5, "logits");

  const Tensor weights = random_tensor(got.shape(), 3);
  tape.backward({{got, weights}});
  const auto loss = [&] {
    double sum = 0.0;
    const std::vector<double> all = logits();
    for (std::size_t i = 0; i < all.size(); ++i) sum += all[i] * weights[static_cast<std::int64_t>(i)];
    return sum;
  };
  constexpr double kStep = 1e-6;
  for (const Parameter& p : model.parameters()) {
    if (!p.learned) continue;
    const Tensor way = random_tensor(p.shape, 5);
    std::vector<double>& numbers = reference.tensors.at(p.name);
    const std::vector<double> here = numbers;
    const auto moved = [&](double step) {
      for (std::size_t i = 0; i < here.size(); ++i)
        numbers[i] = here[i] + step * way[static_cast<std::int64_t>(i)];
      return loss();
    };
    const double slope = (moved(kStep) - moved(-kStep)) / (2 * kStep);
    numbers = here;
    double sum = 0.0, size = 0.0;
    for (std::int64_t i = 0; i < way.numel(); ++i) {
      const double term = static_cast<double>(p.value.grad()[i]) * way[i];
      sum += term;
      size += term * term;
    }
    EXPECT_NE(slope, 0.0) << p.name;  // else nothing is shown
    EXPECT_NEAR(sum, slope, 1e-3 * std::sqrt(size) + 1e-6) << p.name;
  }
}

}  // namespace locant::testing
