#pragma once

#include <functional>
#include <string>
#include <vector>

#include "train/train.h"

namespace locant {

/// A preset of a run: "probe" (the head alone, on features), "finetune" (all of a checkpoint's model, rates
/// that fall towards the input) or "scratch" (from random numbers). A JSON object of TrainOptions' fields.
struct Recipe {
  const char* name;
  const char* fields;
};
const std::vector<Recipe>& recipes();

/// Sets what the recipe says, but for fields that `given(field)` says were asked for otherwise. Returns what
/// people read: "epochs 20", "lr 0.001 (given)", every field of the recipe. Throws Error for an unknown
/// recipe.
std::vector<std::string> apply_recipe(const std::string& name, TrainOptions& options,
                                      const std::function<bool(const std::string&)>& given);

}  // namespace locant
