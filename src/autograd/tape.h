#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"

namespace locant {

/// A value in a computation: a tensor, and a place for its gradient when one is wanted. Copies share both.
/// Threads: several may read it at once; assign(), accumulate() and clear_grad() by one thread alone.
class Var {
 public:
  Var() = default;
  /// A constant, or a leaf whose gradient backward() fills.
  explicit Var(Tensor value, bool requires_grad = false);

  bool defined() const { return node_ != nullptr; }
  const Tensor& value() const;
  const Shape& shape() const { return value().shape(); }
  std::int64_t dim(int axis) const { return shape()[axis]; }
  bool requires_grad() const { return node_ != nullptr && node_->requires_grad; }

  /// The gradient so far; undefined before backward() reached this value.
  const Tensor& grad() const;
  void clear_grad();
  /// Adds to the gradient. Takes over the tensor when it is the first. No effect unless requires_grad().
  void accumulate(Tensor gradient) const;
  /// Replaces the numbers (optimisers, loading); the shape stays. Throws Error when shapes differ.
  void assign(Tensor value);
  /// A leaf becomes a constant: nothing that depends on it alone is recorded any more.
  void freeze();

 private:
  friend class Tape;
  struct Node {
    Tensor value;
    Tensor grad;
    bool requires_grad = false;
    bool keep_grad = true;  // leaves keep theirs after backward(); intermediate values do not
  };
  std::shared_ptr<Node> node_;
};

/// What ran, in order, with a closure each that carries a gradient from an output to its inputs.
/// Threads: a tape belongs to one, and so do, while it runs backward, the leaves that it fills.
class Tape {
 public:
  /// `backward` receives the gradient of `value` and accumulates into the inputs that want one.
  Var record(Tensor value, std::function<void(const Tensor&)> backward);
  /// Fills the gradients of every leaf that `output` depends on, given d(loss)/d(output) for each of the
  /// outputs. Frees closures and intermediate gradients as it goes; the tape is empty afterwards.
  void backward(const std::vector<std::pair<Var, Tensor>>& outputs);
  /// The same for one scalar loss with gradient 1. Throws Error unless it has one element.
  void backward(const Var& loss);
  /// Keeps the gradient of an intermediate value, for inspection after backward().
  static void keep_grad(const Var& value);
  std::size_t size() const { return entries_.size(); }
  void clear() { entries_.clear(); }

 private:
  struct Entry {
    Var output;
    std::function<void(const Tensor&)> backward;
  };
  std::vector<Entry> entries_;
};

/// Sees named intermediate values of a model as they are computed.
class Probe {
 public:
  virtual ~Probe() = default;
  virtual void see(const std::string& path, const Var& value) = 0;
  /// True: layers also make and show their tokens x tokens numbers, which they otherwise never hold.
  virtual bool dense() const { return false; }
};

/// Passed first to every op and model. No tape: inference, nothing is recorded and buffers are reused.
/// Threads: without a tape, rng and probe several may go forward at once, on the same weights too; gradients,
/// and what draws from one rng, are one thread's.
struct Context {
  Tape* tape = nullptr;
  bool train = false;  ///< dropout and drop path act; needs `rng`
  Rng* rng = nullptr;
  Probe* probe = nullptr;
  bool thrifty =
      false;  ///< checkpointed() parts keep nothing between forward and backward (autograd/checkpoint.h)
  bool again = false;  ///< a checkpointed part is computed for the second time: running statistics stay

  /// There is a tape, and one of these wants a gradient; undefined ones do not.
  bool records(std::span<const Var> inputs) const;
  /// Records an op when that is so; otherwise a plain value.
  template <class Backward>
  Var record(std::span<const Var> inputs, Tensor value, Backward&& backward) const {
    if (records(inputs)) return tape->record(std::move(value), std::forward<Backward>(backward));
    return Var(std::move(value));
  }
  template <class Backward>
  Var record(std::initializer_list<Var> inputs, Tensor value, Backward&& backward) const {
    return record(std::span(inputs.begin(), inputs.size()), std::move(value),
                  std::forward<Backward>(backward));
  }

  /// Shows a value to the probe; `name` is a callable, so that no string is built when nobody looks.
  template <class Name>
  void show(Name&& name, const Var& value) const {
    if (probe != nullptr) probe->see(name(), value);
  }

  /// The same, of a value that goes on: x = ctx.shown("norm", norm(ctx, x)).
  Var shown(std::string_view name, Var value) const {
    if (probe != nullptr) probe->see(std::string(name), value);
    return value;
  }
  Var shown(std::string_view list, std::int64_t index, Var value) const {
    if (probe != nullptr) probe->see(std::string(list) + "." + std::to_string(index), value);
    return value;
  }

  /// The same for tokens x tokens numbers: `value` is a callable too.
  template <class Name, class Value>
  void show_dense(Name&& name, Value&& value) const {
    if (probe != nullptr && probe->dense()) probe->see(name(), value());
  }
};

}  // namespace locant
