#pragma once

#include <string>

#include "train/train.h"

namespace locant {

/// Trains the head of a checkpoint's model and leaves the rest: what the head sees of every picture is
/// computed once, by packed weights and without augmentation, and the head is the logistic regression on it
/// (train/logistic.h). Features are kept in OUT/features.safetensors, also those of an interrupted run, and
/// used again by a run of the same weights, pictures and preprocessing. The log has one line {"kind":
/// "probe", steps, loss, gradient, accuracy, val_accuracy, seconds}. Throws Error as train() does, and for a
/// model whose head is not one linear layer.
TrainResult train_probe(const TrainOptions& options, const TrainCallbacks& callbacks);

std::string features_path(const std::string& folder);

}  // namespace locant
