#include "train/head.h"

#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/registry.h"

namespace locant {
namespace {

std::string with_classes(const Model& model, std::int64_t classes) {
  return merge_config(model.config(), nlohmann::json{{"num_classes", classes}}.dump());
}

/// Numbers of another model, with an identity in place of its head.
class HeadlessSource final : public WeightSource {
 public:
  HeadlessSource(const Model& model, LinearHead head) : head_(std::move(head)) {
    for (const Parameter& parameter : model.parameters()) tensors_[parameter.name] = parameter.value.value();
  }
  Tensor get(const std::string& name, const Shape& shape, const Init&) override {
    if (name == head_.bias) return Tensor::zeros(shape);
    if (name == head_.weight) {
      Tensor identity = Tensor::zeros(shape);
      for (std::int64_t i = 0; i < head_.width; ++i) identity[i * head_.width + i] = 1.0f;
      return identity;
    }
    const auto found = tensors_.find(name);
    if (found == tensors_.end() || found->second.shape() != shape)
      fail("probe", "{} of shape {} is not in the model", name, shape.str());
    return found->second;
  }

 private:
  LinearHead head_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace

LinearHead linear_head(const Model& model) {
  const std::int64_t classes = model.num_classes();
  const std::string family = model.family().name;
  require(classes > 0, "probe", "the model ({}) has no classes", family);
  std::map<std::string, Shape> others;
  for (const Parameter& parameter : model_parameters(family, with_classes(model, classes + 1)))
    others.emplace(parameter.name, parameter.shape);
  LinearHead head;
  int found = 0;
  for (const Parameter& parameter : model.parameters()) {
    const auto other = others.find(parameter.name);
    if (other != others.end() && other->second == parameter.shape) continue;
    ++found;
    const Shape& shape = parameter.shape;
    if (shape.rank() >= 1 && shape[0] == classes && shape.numel() == classes && shape.rank() == 1) {
      head.bias = parameter.name;
    } else if (shape.rank() >= 2 && shape[0] == classes && shape.numel() == classes * shape[1]) {
      head.weight = parameter.name;
      head.width = shape[1];
    }
  }
  const bool one = !head.weight.empty() && found == (head.bias.empty() ? 1 : 2);
  require(one, "probe",
          "the head of a {} is not one linear layer ({} tensors change with the number of classes); train it "
          "with the rest standing still: --recipe finetune --freeze N",
          family, found);
  return head;
}

std::unique_ptr<Model> headless(const Model& model, const LinearHead& head) {
  HeadlessSource source(model, head);
  return make_model(model.family().name, with_classes(model, head.width),
                    Weights(source, WeightMode::inference));
}

}  // namespace locant
