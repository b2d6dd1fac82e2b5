#pragma once

#include <functional>
#include <string>
#include <vector>

#include "train/dataset.h"

namespace locant {

/// Weights of classes in the loss: `rule` "none" gives none, "balanced" N / (classes N_c), as scikit-learn
/// calls it. `note` gets a line that shows them. Throws Error for another rule, and where a class has no
/// picture.
std::vector<float> class_weights(const std::string& rule, const Dataset& data,
                                 const std::vector<std::string>& classes,
                                 const std::function<void(const std::string&)>& note = {});

}  // namespace locant
