#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/runner.h"
#include "core/profile.h"
#include "models/load.h"

namespace locant::bench {

struct ModelOptions {
  std::string name;       ///< registry name; may be empty when `weights` tells it
  std::string weights;    ///< checkpoint; empty: a random start
  LoadOptions load = {};  ///< how to read it; its model and mode are set here
  std::int64_t batch = 1;
  std::int64_t img_size = 0;  ///< input side; 0: the model's own
  double seconds = 3.0;
  bool train = false;  ///< forward and backward instead of inference
  bool profile = false;
};

struct ModelResult {
  Row row;
  LoadedModel loaded;
  std::vector<ProfileEntry> layers;  ///< per pass; empty unless profiled
  double profiled_ms = 0.0;          ///< a pass while profiling
};

/// Time of a pass, images a second, and the most memory that the whole process held (VmHWM). Throws Error.
ModelResult bench_model(const ModelOptions& options, double (*peak_mb)());

}  // namespace locant::bench
