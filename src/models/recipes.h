#pragma once

#include <string>

#include "io/preprocess.h"

namespace locant {

/// What a published file's name says of how its pictures are prepared, where tensors of one shape come from
/// several recipes: DeiT, DINO, MAE and MoCo (ImageNet's mean, short side 256), MIIL (0 to 1), CLIP. False
/// where it says nothing; `word` gets what told it.
bool recipe_of_name(const std::string& file_name, Preprocess& preprocess, std::string& word);

}  // namespace locant
