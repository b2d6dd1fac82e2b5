#pragma once

#include <string>

#include "train/train.h"

namespace locant {

/// Throws Error where `options.out` holds a run that this one would neither continue nor replace.
void check_run_folder(const TrainOptions& options);
/// Makes the folder and removes an older run's files from it; true where there was no folder before. Throws
/// Error.
bool clear_run_folder(const std::string& out);
/// Removes what a run left that saved nothing: the folder is as free for the next try as it was for this one.
void forget_run_folder(const std::string& out, bool made);

}  // namespace locant
