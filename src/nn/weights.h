#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/tape.h"

namespace locant {

/// How a tensor starts when no checkpoint gives it.
struct Init {
  enum class Kind { constant, identity, trunc_normal, normal, uniform, given } kind = Kind::constant;
  float value = 0.0f;  ///< the constant, the standard deviation (truncated at +-2 absolute), or the bound
  const Tensor* numbers = nullptr;  ///< given

  static Init zeros() { return {Kind::constant, 0.0f}; }
  static Init ones() { return {Kind::constant, 1.0f}; }
  /// A square matrix that changes nothing.
  static Init identity() { return {Kind::identity}; }
  static Init constant(float value) { return {Kind::constant, value}; }
  static Init trunc_normal(float std) { return {Kind::trunc_normal, std}; }
  static Init normal(float std) { return {Kind::normal, std}; }
  /// These numbers, of the tensor's shape; they must be there while the tensor is asked for.
  static Init given(const Tensor& numbers) { return {Kind::given, 0.0f, &numbers}; }
  /// PyTorch's default of Linear and Conv2d, weight and bias alike: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
  static Init fan_in(std::int64_t fan_in);
  /// U(-b, b), b = sqrt(6 / (in + out)): Glorot and Bengio 2010.
  static Init xavier_uniform(std::int64_t in, std::int64_t out);
};

/// Where a model's numbers come from: a checkpoint, a random start, a formula. Names are the model's own.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  /// Numbers for a tensor; may be borrowed. Throws Error when there are none or the shape differs.
  virtual Tensor get(const std::string& name, const Shape& shape, const Init& init) = 0;
  /// The caller holds its own copy now: mapped pages may leave memory.
  virtual void release(const std::string& name) { (void)name; }
};

/// Seeded random start; each tensor's numbers depend on its name and the seed alone, not on the order of
/// requests.
class RandomSource final : public WeightSource {
 public:
  explicit RandomSource(std::uint64_t seed) : seed_(seed) {}
  Tensor get(const std::string& name, const Shape& shape, const Init& init) override;

 private:
  std::uint64_t seed_;
};

/// Allocates nothing: values are undefined tensors. For listing a model's names and shapes. get() throws
/// Error from the `largest` tensor on.
class ShapeSource final : public WeightSource {
 public:
  explicit ShapeSource(std::size_t largest = 1 << 20) : largest_(largest) {}
  Tensor get(const std::string& name, const Shape& shape, const Init& init) override;

 private:
  std::size_t largest_, asked_ = 0;
};

/// train: parameters are leaves with gradients. inference: matrices are packed once and nothing else is kept.
/// shapes: names and shapes only; the model cannot run.
enum class WeightMode { train, inference, shapes };

/// Full name of `name` under `path`: "blocks.0" and "qkv" make "blocks.0.qkv". Either may be empty.
std::string join_path(const std::string& path, std::string_view name);

struct Parameter {
  std::string name;
  Shape shape;
  Var value;            ///< undefined where inference keeps a packed form only
  bool decays = true;   ///< weight decay applies (train/adamw.h)
  bool learned = true;  ///< false: a running statistic
};

/// What a layer knows about a tensor that it asks for.
struct ParameterOptions {
  /// False: no weight decay, as for position tables and tokens. Tensors of fewer than two axes (biases,
  /// norms, scales of layers) never decay.
  bool decay = true;
};

/// A path into a model's tensors: `weights / "blocks" / i / "attn"`. Constructors of layers ask it for what
/// they need, so one constructor loads a checkpoint, starts at random, or lists shapes. Every request is kept
/// in parameters(), in order, shared by all paths of one root.
class Weights {
 public:
  Weights(WeightSource& source, WeightMode mode);

  Weights operator/(std::string_view name) const;
  Weights operator/(std::int64_t index) const;
  /// Full name of a tensor here: "blocks.0.attn.qkv.weight". path("") is this place itself.
  std::string path(std::string_view name = "") const;
  WeightMode mode() const { return root_->mode; }

  /// A parameter as a tape value, in any mode (undefined value inside when only shapes are listed).
  Var get(std::string_view name, const Shape& shape, const Init& init,
          const ParameterOptions& options = {}) const;
  /// A running statistic: kept as it is in every mode, no gradient, no weight decay. Who reads it later reads
  /// it through the Var: a resumed run and averaged weights put other numbers there.
  Var buffer(std::string_view name, const Shape& shape, const Init& init) const;
  /// Numbers for a packed form, to be let go at once; followed by release(name). Not in train mode.
  Tensor take(std::string_view name, const Shape& shape, const Init& init) const;
  void release(std::string_view name) const;

  const std::vector<Parameter>& parameters() const { return root_->parameters; }

 private:
  struct Root {
    WeightSource* source;
    WeightMode mode;
    std::vector<Parameter> parameters;
  };
  Var own(std::string_view name, const Shape& shape, const Init& init, bool learned, bool decays) const;
  Weights(std::shared_ptr<Root> root, std::string prefix)
      : root_(std::move(root)), prefix_(std::move(prefix)) {}
  std::shared_ptr<Root> root_;
  std::string prefix_;
};

}  // namespace locant
