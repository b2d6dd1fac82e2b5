#include "kernels/attention_code_runs.h"

namespace locant::fused {

std::vector<CodeRun> code_runs(const std::int32_t* codes, std::int64_t count, std::int32_t sign) {
  std::vector<CodeRun> runs;
  for (std::int64_t x = 0; x < count; ++x) {
    const std::int32_t code = sign * codes[x];
    if (!runs.empty() && std::int64_t{runs.back().code} + runs.back().count == code) {
      ++runs.back().count;
    } else {
      runs.push_back({static_cast<std::int32_t>(x), code, 1});
    }
  }
  return runs;
}

}  // namespace locant::fused
