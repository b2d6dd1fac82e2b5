#include "models/model.h"

#include "core/error.h"
#include "models/family.h"

namespace locant {

const char* Model::op() const { return family_.name; }

std::int64_t Model::num_parameters() const {
  std::int64_t numbers = 0;
  for (const Parameter& parameter : parameters_)
    if (parameter.learned) numbers += parameter.shape.numel();
  return numbers;
}

bool Model::sees() const {
  const std::string first = inputs().front().name;
  return first == "images" || first == "clips";
}

Values Model::run(const Context& ctx, const Values& inputs) const {
  check_inputs(op(), this->inputs(), inputs);
  return compute(ctx, inputs);
}

Var Model::forward(const Context& ctx, const Var& input) const {
  return run(ctx, {{inputs().front().name, input}}).front();
}

Features Model::features(const Context&, const Var&) const {
  fail(op(), "this model has no features of pictures");
}

std::unique_ptr<Model> build_model(const Family& family, const std::string& config, const Weights& weights) {
  const std::size_t before = weights.parameters().size();
  std::unique_ptr<Model> model = family.make(family, config, weights);
  const std::vector<Parameter>& all = weights.parameters();
  model->parameters_.assign(all.begin() + static_cast<std::ptrdiff_t>(before), all.end());
  return model;
}

}  // namespace locant
