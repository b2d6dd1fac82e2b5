#pragma once

#include <string>

#include "cli/cli.h"
#include "segment/fine_tune.h"
#include "train/train.h"

namespace CLI {
class App;
}

namespace locant::cli {

/// `locant train --task segment`: `own`, and of the options of `train` those that a mask decoder's
/// fine-tuning has; its own defaults stand where they are not given. Throws Error that names options it does
/// not have.
FineTuneOptions fine_tune_options(FineTuneOptions own, const TrainOptions& train, const CLI::App& sub);

int run_fine_tune(const FineTuneOptions& options, const GlobalOptions& globals);

}  // namespace locant::cli
