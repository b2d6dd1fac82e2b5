#pragma once

#include <string>

namespace locant {

/// True for a folder of the hub's cache as a whole: models--ORG--NAME with snapshots inside.
bool is_hub_cache(const std::string& folder);

/// The snapshot of such a folder: the one that refs/main names, else the only one. Throws Error where that
/// one is missing, or refs/main is and there are several (it lists them).
std::string hub_snapshot(const std::string& folder);

/// A half sentence to add where a snapshot holds no weights and a download was broken off; empty otherwise.
std::string interrupted_download(const std::string& snapshot);

}  // namespace locant
