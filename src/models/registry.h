#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/family.h"

namespace locant {

/// Class names of ImageNet-1k in index order.
const std::vector<std::string>& imagenet_classes();
/// Names of its class folders, in the same order: "n01440764", ...
const std::vector<std::string>& imagenet_synsets();

/// The registered variants of a family; made when they are first asked for.
const std::vector<ModelEntry>& entries_of(const Family& family);
/// Every registered variant, grouped by family.
const std::vector<std::reference_wrapper<const ModelEntry>>& model_entries();
/// By name or alias; nullptr where there is none.
const ModelEntry* entry_called(std::string_view name);
/// The same. Throws Error with the nearest names.
const ModelEntry& find_model(std::string_view name);
/// Builds a model of a family from its JSON configuration. Throws Error on an unknown family, key or value.
std::unique_ptr<Model> make_model(const std::string& family, const std::string& config,
                                  const Weights& weights);
/// Names and shapes of every parameter, without allocating one. Throws Error also for more than `largest` of
/// them: a damaged configuration does not build a huge model.
std::vector<Parameter> model_parameters(const std::string& family, const std::string& config,
                                        std::size_t largest = 1 << 20);

}  // namespace locant
