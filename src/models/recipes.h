#pragma once

#include <string>

#include "io/preprocess.h"

namespace locant {

/// What a published file's name says of how its pictures are prepared, where tensors of one shape come from
/// several recipes: DeiT, DINO, MAE and MoCo (ImageNet's mean, short side 256), MIIL (0 to 1), CLIP, each as
/// a word of its own. False where it says nothing; `word` gets what told it.
bool recipe_of_name(const std::string& file_name, Preprocess& preprocess, std::string& word);

/// What a plain transformer of this name (a file's, or timm's architecture) computes otherwise although its
/// tensors are those of one that is here: "rotary positions". Empty where it is no such name.
std::string untold_computation(const std::string& name);
/// Fields of the configuration that no tensor of this architecture of timm tells, and that are not the usual
/// ones; JSON object, empty for all others.
std::string untold_fields(const std::string& name);

}  // namespace locant
