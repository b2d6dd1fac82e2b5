#pragma once

#include <filesystem>

namespace locant {

/// CPUs that this process may run on by its affinity mask; at least 1.
int affinity_cores();

/// CPUs that the quotas of the process's own control group and of every group above it leave, rounded up; 0:
/// no quota. Control groups of version 1 and 2, wherever /proc/self/mountinfo says that they are mounted;
/// what cannot be read says nothing. `root` stands for "/".
int quota_cores(const std::filesystem::path& root = "/");

}  // namespace locant
