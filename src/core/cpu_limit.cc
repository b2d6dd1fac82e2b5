#include "core/cpu_limit.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace locant {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

bool holds(const std::string& list, std::string_view word) {
  const std::vector<std::string> words = split(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// mountinfo writes space, tab, newline and backslash as \040 and so on.
std::string unescaped(const std::string& text) {
  const auto digit = [&](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + text[i + 3] - '0');
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

enum class Version { one, two };

/// Where a hierarchy of control groups is mounted.
struct Mount {
  Version version;
  std::string group;  ///< the group that is seen at `point`
  std::string point;
};

/// "36 35 98:0 /group /point options optional... - type source options": those with CPU quotas.
std::vector<Mount> mounts_of(const fs::path& root) {
  std::vector<Mount> mounts;
  std::ifstream in(root / "proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    const std::vector<std::string> words = split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 2) continue;
    const std::string& type = dash[1];
    const std::string options = words.end() - dash > 3 ? dash[3] : "";
    if (type == "cgroup2") mounts.push_back({Version::two, unescaped(words[3]), unescaped(words[4])});
    if (type == "cgroup" && holds(options, "cpu"))
      mounts.push_back({Version::one, unescaped(words[3]), unescaped(words[4])});
  }
  return mounts;
}

/// "4:cpu,cpuacct:/group" (version 1) and "0::/group" (version 2).
std::optional<std::string> own_group(const fs::path& root, Version version) {
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (version == Version::two ? controllers.empty() : holds(controllers, "cpu"))
      return line.substr(second + 1);
  }
  return std::nullopt;
}

/// ceil(quota / period), at least 1; 0: none.
int cores_of(long quota, long period) {
  constexpr long kMost = 1L << 20;
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::min(quota / period + (quota % period != 0 ? 1 : 0), kMost));
}

/// The quota of one group alone; 0: none.
int group_cores(Version version, const fs::path& folder) {
  std::string quota;
  long period = 0;
  if (version == Version::two) {  // "max 100000", "200000 100000"
    std::ifstream(folder / "cpu.max") >> quota >> period;
  } else {  // -1: none
    std::ifstream(folder / "cpu.cfs_quota_us") >> quota;
    std::ifstream(folder / "cpu.cfs_period_us") >> period;
  }
  long number = 0;
  std::istringstream(quota) >> number;  // stays 0 for "max"
  return cores_of(number, period);
}

/// From the process's group up to the one that is mounted.
int mount_cores(const fs::path& root, const Mount& mount) {
  const std::optional<std::string> group = own_group(root, mount.version);
  if (!group) return 0;
  // A container may see its own group as the mount's root, under a name from outside or above it.
  fs::path below = fs::path(*group).lexically_relative(mount.group);
  if (std::find(below.begin(), below.end(), "..") != below.end()) below.clear();
  const fs::path top = root / fs::path(mount.point).relative_path();
  int least = 0;
  const auto count = [&](int cores) {
    if (cores > 0) least = least == 0 ? cores : std::min(least, cores);
  };
  fs::path folder = top;
  count(group_cores(mount.version, folder));
  for (const fs::path& part : below) {
    if (part == "." || part.empty()) continue;
    folder /= part;
    count(group_cores(mount.version, folder));
  }
  return least;
}

}  // namespace

int affinity_cores() {
  for (int most = CPU_SETSIZE; most <= 1 << 20; most *= 2) {  // the mask may be longer than the usual one
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(most));
    if (set == nullptr) break;
    const std::size_t size = CPU_ALLOC_SIZE(static_cast<std::size_t>(most));
    const int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return 1;
}

int quota_cores(const std::filesystem::path& root) {
  int least = 0;
  for (const Mount& mount : mounts_of(root))
    if (const int cores = mount_cores(root, mount); cores > 0)
      least = least == 0 ? cores : std::min(least, cores);
  return least;
}

}  // namespace locant
