#include "autograd/tape.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"

namespace locant {

Var::Var(Tensor value, bool requires_grad) : node_(std::make_shared<Node>()) {
  node_->value = std::move(value);
  node_->requires_grad = requires_grad;
}

const Tensor& Var::value() const {
  require(node_ != nullptr, "var", "an undefined value was used; an optional input is missing");
  return node_->value;
}

const Tensor& Var::grad() const {
  require(node_ != nullptr, "var", "an undefined value has no gradient");
  return node_->grad;
}

void Var::clear_grad() {
  if (node_ != nullptr) node_->grad = Tensor();
}

void Var::accumulate(Tensor gradient) const {
  if (!requires_grad()) return;
  if (gradient.shape() != node_->value.shape())
    fail("backward", "gradient of shape {} for a value of shape {}", gradient.shape().str(),
         node_->value.shape().str());
  if (!node_->grad.defined()) {
    node_->grad = std::move(gradient);
    return;
  }
  // Somebody else may hold the first gradient (both inputs of an addition get the same one): then add into a
  // copy.
  Tensor sum = std::move(node_->grad);
  if (!sum.unique()) sum = sum.clone();
  float* out = sum.data();
  const float* in = gradient.data();
  parallel_for(sum.numel(), 16384, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out[i] += in[i];
  });
  node_->grad = std::move(sum);
}

void Var::assign(Tensor value) {
  require(node_ != nullptr, "var", "cannot assign to an undefined value");
  if (value.shape() != node_->value.shape())
    fail("assign", "numbers of shape {} for a value of shape {}", value.shape().str(),
         node_->value.shape().str());
  node_->value = std::move(value);
}

void Var::freeze() {
  require(node_ != nullptr && node_->keep_grad, "var", "only a leaf can be made a constant");
  node_->requires_grad = false;
  node_->grad = Tensor();
}

Var Tape::record(Tensor value, std::function<void(const Tensor&)> backward) {
  Var output(std::move(value), true);
  output.node_->keep_grad = false;
  entries_.push_back({output, std::move(backward)});
  return output;
}

void Tape::backward(const std::vector<std::pair<Var, Tensor>>& outputs) {
  for (const auto& [output, gradient] : outputs) output.accumulate(gradient);
  while (!entries_.empty()) {
    Entry entry = std::move(entries_.back());
    entries_.pop_back();
    Var::Node& node = *entry.output.node_;
    if (!node.grad.defined()) continue;  // nothing that was asked for depends on it
    if (node.keep_grad) {
      entry.backward(node.grad);
    } else {
      const Tensor gradient = std::move(node.grad);
      node.grad = Tensor();
      entry.backward(gradient);
    }
  }
}

void Tape::backward(const Var& loss) {
  if (loss.value().numel() != 1)
    fail("backward", "the loss has shape {}, not one element", loss.shape().str());
  backward({{loss, Tensor::full(loss.shape(), 1.0f)}});
}

void Tape::keep_grad(const Var& value) {
  require(value.node_ != nullptr, "tape", "an undefined value has no gradient to keep");
  value.node_->keep_grad = true;
}

bool Context::records(std::span<const Var> inputs) const {
  return tape != nullptr &&
         std::any_of(inputs.begin(), inputs.end(), [](const Var& input) { return input.requires_grad(); });
}

}  // namespace locant
