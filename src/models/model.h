#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "nn/weights.h"

namespace locant {

/// What a picture looks like to a model before its head.
struct Features {
  Var cls;      ///< (B, C): class token, or the mean of the patches where the model has none; normed
  Var patches;  ///< (B, rows * columns, C), normed, row-major
  std::int64_t rows = 0, columns = 0;
  Tensor
      attention;  ///< (B, H, rows * columns): class token to patches in the last layer; undefined without one
};

/// A vision model: images (B, channels, H, W), normalised as its checkpoint wants.
class Model {
 public:
  virtual ~Model() = default;
  /// "swin", "vit", "deit", "dinov2", "simple_vit".
  virtual const std::string& family() const = 0;
  /// The configuration as a JSON object; make_model(family, config) builds the same model again.
  virtual std::string config() const = 0;
  virtual std::int64_t num_classes() const = 0;
  /// Logits (B, classes); the pooled features when the model has no head.
  virtual Var forward(const Context& ctx, const Var& images) const = 0;
  virtual Features features(const Context& ctx, const Var& images) const = 0;
  const std::vector<Parameter>& parameters() const { return weights_.parameters(); }

 protected:
  explicit Model(const Weights& weights) : weights_(weights) {}

 private:
  Weights weights_;
};

}  // namespace locant
