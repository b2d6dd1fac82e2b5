#include "models/registry.h"

#include "core/error.h"
#include "models/config_json.h"
#include "models/deit.h"
#include "models/dinov2.h"
#include "models/sam_image_encoder.h"
#include "models/simple_vit.h"
#include "models/swin.h"
#include "models/tiny_vit.h"
#include "models/vit.h"

namespace locant {
namespace {

struct Family {
  const char* name;
  std::unique_ptr<Model> (*make)(const std::string& config, const Weights& weights);
  void (*add_variants)(std::vector<ModelEntry>& entries);
};

/// Every model family: one line each.
constexpr Family kFamilies[] = {
    {"swin", make_swin, register_swin},                                         //
    {"vit", make_vit, register_vit},                                            //
    {"deit", make_deit, register_deit},                                         //
    {"dinov2", make_dinov2, register_dinov2},                                   //
    {"simple_vit", make_simple_vit, register_simple_vit},                       //
    {"tiny_vit", make_tiny_vit, register_tiny_vit},                             //
    {"sam_image_encoder", make_sam_image_encoder, register_sam_image_encoder},  //
};

}  // namespace

const std::vector<ModelEntry>& model_entries() {
  static const std::vector<ModelEntry> entries = [] {
    std::vector<ModelEntry> out;
    for (const Family& family : kFamilies) family.add_variants(out);
    return out;
  }();
  return entries;
}

const ModelEntry& find_model(std::string_view name) {
  std::vector<std::string> names;
  for (const ModelEntry& entry : model_entries()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
    for (const std::string& alias : entry.aliases) {
      if (alias == name) return entry;
      names.push_back(alias);
    }
  }
  const auto near = nearest_names(name, names, 3);
  fail("models", "no model is called \"{}\"; the nearest are {}", name, fmt::join(near, ", "));
}

std::unique_ptr<Model> make_model(const std::string& family, const std::string& config,
                                  const Weights& weights) {
  std::vector<std::string> names;
  for (const Family& entry : kFamilies) {
    if (family == entry.name) return entry.make(config, weights);
    names.push_back(entry.name);
  }
  fail("models", "no model family is called \"{}\"; there are {}", family, fmt::join(names, ", "));
}

std::vector<Parameter> model_parameters(const std::string& family, const std::string& config) {
  ShapeSource source;
  const Weights weights(source, WeightMode::shapes);
  return make_model(family, config, weights)->parameters();
}

}  // namespace locant
