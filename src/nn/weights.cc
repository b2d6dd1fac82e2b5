#include "nn/weights.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "core/rng.h"

namespace locant {
namespace {

// Or a kernel: what weight decay is for.
bool is_matrix(const Shape& shape) { return shape.rank() >= 2; }

}  // namespace

Init Init::fan_in(std::int64_t fan_in) {
  return {Kind::uniform, static_cast<float>(1.0 / std::sqrt(static_cast<double>(fan_in)))};
}

Init Init::xavier_uniform(std::int64_t in, std::int64_t out) {
  return {Kind::uniform, static_cast<float>(std::sqrt(6.0 / static_cast<double>(in + out)))};
}

Tensor RandomSource::get(const std::string& name, const Shape& shape, const Init& init) {
  if (init.kind == Init::Kind::given) {
    require(init.numbers->shape() == shape, "weights", "{} of shape {} starts from numbers of another shape",
            name, shape.str());
    return init.numbers->clone();
  }
  if (init.kind == Init::Kind::identity) {
    require(shape.rank() == 2 && shape[0] == shape[1], "weights",
            "{} of shape {} cannot start as the identity", name, shape.str());
    Tensor out = Tensor::zeros(shape);
    for (std::int64_t i = 0; i < shape[0]; ++i) out[i * shape[0] + i] = 1.0f;
    return out;
  }
  Tensor out(shape);
  Rng rng(seed_ ^ fnv1a64(name));
  for (float& x : out.values()) switch (init.kind) {
      case Init::Kind::constant:
        x = init.value;
        break;
      case Init::Kind::normal:
        x = init.value * rng.normal();
        break;
      case Init::Kind::uniform:
        x = init.value * (2.0f * rng.uniform() - 1.0f);
        break;
      case Init::Kind::trunc_normal:
        do x = init.value * rng.normal();
        while (std::abs(x) > 2.0f);
        break;
      case Init::Kind::identity:
      case Init::Kind::given:
        break;
    }
  return out;
}

Tensor ShapeSource::get(const std::string& name, const Shape&, const Init&) {
  require(++asked_ <= largest_, "weights", "the configuration asks for more than {} tensors ({} is the next)",
          largest_, name);
  return {};
}

std::string join_path(const std::string& path, std::string_view name) {
  if (path.empty()) return std::string(name);
  return name.empty() ? path : fmt::format("{}.{}", path, name);
}

Weights::Weights(WeightSource& source, WeightMode mode)
    : root_(std::make_shared<Root>(Root{&source, mode, {}})) {}

Weights Weights::operator/(std::string_view name) const { return {root_, path(name)}; }

Weights Weights::operator/(std::int64_t index) const { return {root_, path(fmt::format("{}", index))}; }

std::string Weights::path(std::string_view name) const { return join_path(prefix_, name); }

Var Weights::own(std::string_view name, const Shape& shape, const Init& init, bool learned,
                 bool decays) const {
  const std::string full = path(name);
  Tensor value = root_->source->get(full, shape, init);
  if (value.is_borrowed()) {
    value = value.clone();
    root_->source->release(full);
  }
  Var var(std::move(value), learned && root_->mode == WeightMode::train);
  root_->parameters.push_back({full, shape, var, decays, learned});
  return var;
}

Var Weights::get(std::string_view name, const Shape& shape, const Init& init,
                 const ParameterOptions& options) const {
  return own(name, shape, init, true, options.decay && is_matrix(shape));
}

Var Weights::buffer(std::string_view name, const Shape& shape, const Init& init) const {
  return own(name, shape, init, false, false);
}

Tensor Weights::take(std::string_view name, const Shape& shape, const Init& init) const {
  require(root_->mode != WeightMode::train, "weights", "a training model keeps its parameters as they are");
  const std::string full = path(name);
  root_->parameters.push_back({full, shape, Var(), is_matrix(shape)});
  return root_->source->get(full, shape, init);
}

void Weights::release(std::string_view name) const { root_->source->release(path(name)); }

}  // namespace locant
