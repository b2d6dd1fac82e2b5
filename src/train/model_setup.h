#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/preprocess.h"
#include "models/model.h"
#include "train/train.h"

namespace locant {

/// A model to be trained, with the form of its pictures.
struct TrainModel {
  std::unique_ptr<Model> model;
  std::string name;  ///< registry name, or the family
  Preprocess form;
  std::vector<std::string> notes;  ///< what was taken from a checkpoint and what starts at random
};

/// Builds what `options` says for a number of classes: registry entry or family, overridden by
/// `options.config`, with the drop path of the options, started at random (by the seed) or from
/// `options.init`. Keys of `options.config` are the family's, and "family", "preprocess" (an object, as in
/// checkpoints). Throws Error.
TrainModel build_train_model(const TrainOptions& options, std::int64_t classes);

}  // namespace locant
