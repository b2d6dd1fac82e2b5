#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/tensor.h"
#include "io/image.h"
#include "io/preprocess.h"
#include "ops/loss.h"
#include "train/augment.h"
#include "train/dataset.h"

namespace locant {

/// Rows of a dataset as a model's input (B, channels, rows, columns). `geometry(i)` gives the transform of
/// row i of the batch; empty: none. The same bits for any number of threads.
Tensor load_batch(const Dataset& data, const std::vector<std::int64_t>& rows, const Preprocess& form,
                  const std::function<Geometry(std::int64_t)>& geometry = {});

/// The same for training: every picture as `options` change it, up to and including random erasing. What
/// happens to a picture is a function of (seed, epoch, its row in the dataset), whatever batch it is in, with
/// the same bits for any number of threads. A picture whose crop is drawn is decoded again; a model of one
/// channel takes its luma. Throws Error for options that check() refuses and for pictures that cannot be
/// decoded.
Tensor load_training_batch(const Dataset& data, const std::vector<std::int64_t>& rows, const Preprocess& form,
                           const AugmentOptions& options, std::uint64_t seed, std::int64_t epoch);

/// Mixes pictures (B, C, rows, columns) within their batch (train/mixup.h), by numbers of (seed, step) alone,
/// and says what they are then: `labels`, with `others` and `shares` where anything was mixed. The middle one
/// of an odd number is mixed with itself. Throws Error where the counts differ.
ClassTargets mix_batch(Tensor& pictures, const std::vector<std::int64_t>& labels,
                       const AugmentOptions& options, std::uint64_t seed, std::int64_t step);

/// A contact sheet: a line for each row of the dataset, first the picture without augmentation, then as the
/// model sees it in epochs 0 ... variants - 1, mixed with those of the other lines where `options` mix, its
/// normalisation undone; white lines between. Throws Error as load_training_batch does, and for a sheet of
/// more than 2^26 pixels.
Image augmented_sheet(const Dataset& data, const std::vector<std::int64_t>& rows, const Preprocess& form,
                      const AugmentOptions& options, std::uint64_t seed, std::int64_t variants = 8);

}  // namespace locant
