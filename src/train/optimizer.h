#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "nn/weights.h"

namespace locant {

/// sqrt(sum of squares) of every gradient, in float64; the same bits for any number of threads. Parameters
/// without a gradient count as zero.
double gradient_norm(const std::vector<Parameter>& parameters);

/// What to multiply gradients by so that their norm is at most `max_norm`: max_norm / (norm + 1e-6) above it,
/// else 1. max_norm 0: no clipping.
double clip_factor(double norm, double max_norm);

/// Moves the learned ones among parameters along their gradients, and keeps what it needs to do so. All
/// arithmetic is elementwise in float32, the scalars in float64: the same bits for any number of threads.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// One update from the gradients, each times `gradient_scale`, at rate `lr` times the parameter's own.
  /// Parameters without a gradient stay as they are.
  void step(double lr, double gradient_scale = 1.0);
  std::int64_t steps() const { return steps_; }

  /// What it keeps, as ("m." + name, tensor), sharing storage.
  std::vector<std::pair<std::string, Tensor>> moments() const;
  /// The other way: copies from `find(name)`, and continues after `steps` updates. Throws Error where one is
  /// missing or of another shape.
  void restore(std::int64_t steps, const std::function<Tensor(const std::string&)>& find);

 protected:
  struct Slot {
    Parameter parameter;
    double rate = 1.0;            ///< times lr
    std::vector<Tensor> moments;  ///< as many as there are letters, start at 0
  };
  /// `letters`: one for each tensor that is kept beside a parameter. `rates`: one a parameter, or none for 1.
  /// What is not learned, or wants no gradient, has no slot. Throws Error for a parameter without numbers.
  Optimizer(const char* op, std::string letters, const std::vector<Parameter>& parameters,
            const std::vector<double>& rates);
  /// Numbers [begin, end) of a slot, in the update that makes steps() what it is.
  virtual void update(const Slot& slot, std::int64_t begin, std::int64_t end, double lr,
                      float gradient_scale) const = 0;

 private:
  const char* op_;
  std::string letters_;
  std::vector<Slot> slots_;
  std::int64_t steps_ = 0;
};

}  // namespace locant
