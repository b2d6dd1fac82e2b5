#include "models/registry.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "core/error.h"

namespace locant {

const std::vector<const Family*>& families() {
#define LOCANT_POINT(family) &family,
  static const std::vector<const Family*> all = {LOCANT_FAMILIES(LOCANT_POINT)};
#undef LOCANT_POINT
  return all;
}

const std::vector<ModelEntry>& entries_of(const Family& family) {
  static std::mutex mutex;
  static std::map<const Family*, std::vector<ModelEntry>> known;
  const std::lock_guard lock(mutex);
  const auto found = known.find(&family);
  return found != known.end() ? found->second : known[&family] = family.variants(family);
}

const std::vector<std::reference_wrapper<const ModelEntry>>& model_entries() {
  static const std::vector<std::reference_wrapper<const ModelEntry>> entries = [] {
    std::vector<std::reference_wrapper<const ModelEntry>> out;
    for (const Family* family : families())
      out.insert(out.end(), entries_of(*family).begin(), entries_of(*family).end());
    return out;
  }();
  return entries;
}

const ModelEntry* entry_called(std::string_view name) {
  for (const ModelEntry& entry : model_entries())
    if (entry.name == name ||
        std::find(entry.aliases.begin(), entry.aliases.end(), name) != entry.aliases.end())
      return &entry;
  return nullptr;
}

const ModelEntry& find_model(std::string_view name) {
  if (const ModelEntry* entry = entry_called(name)) return *entry;
  std::vector<std::string> names;
  for (const ModelEntry& entry : model_entries()) {
    names.push_back(entry.name);
    names.insert(names.end(), entry.aliases.begin(), entry.aliases.end());
  }
  const auto near = nearest_names(name, names, 3);
  fail("models", "no model is called \"{}\"; the nearest are {}", name, fmt::join(near, ", "));
}

const Family& find_family(const std::string& name) {
  for (const Family* family : families())
    if (name == family->name) return *family;
  std::vector<std::string> names;
  for (const Family* family : families()) names.emplace_back(family->name);
  fail("models", "no model family is called \"{}\"; there are {}", name, fmt::join(names, ", "));
}

std::unique_ptr<Model> make_model(const std::string& family, const std::string& config,
                                  const Weights& weights) {
  return build_model(find_family(family), config, weights);
}

std::vector<Parameter> model_parameters(const std::string& family, const std::string& config,
                                        std::size_t largest) {
  ShapeSource source(largest);
  return make_model(family, config, Weights(source, WeightMode::shapes))->parameters();
}

}  // namespace locant
