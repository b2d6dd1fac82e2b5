#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

/// Where the codes of a map's slots follow each other, a term reads a run of memory.
namespace locant::fused {

/// Slots whose codes follow each other: slot + x has code `code + x`, for x < count.
struct CodeRun {
  std::int32_t slot, code, count;
};

/// Runs of slots 0 .. count, of their codes times `sign`.
std::vector<CodeRun> code_runs(const std::int32_t* codes, std::int64_t count, std::int32_t sign = 1);

/// The first run that is not before `slot`, or the end.
inline const CodeRun* first_run(const std::vector<CodeRun>& runs, std::int64_t slot) {
  const auto ends_before = [](const CodeRun& run, std::int64_t x) { return run.slot + run.count <= x; };
  return std::lower_bound(runs.data(), runs.data() + runs.size(), slot, ends_before);
}

}  // namespace locant::fused
