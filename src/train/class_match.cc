#include "train/class_match.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "models/config_json.h"
#include "models/registry.h"
#include "train/dataset.h"

namespace locant {
namespace {

constexpr std::int64_t kNoClass = -1, kSeveralClasses = -2;
constexpr const char* kEvaluateOp = "evaluate";

using ClassIndex = std::map<std::string, std::int64_t, std::less<>>;

ClassIndex index_of_names(const std::vector<std::string>& names) {
  ClassIndex out;
  for (std::size_t i = 0; i < names.size(); ++i)
    if (const auto [at, fresh] = out.emplace(names[i], static_cast<std::int64_t>(i)); !fresh)
      at->second = kSeveralClasses;
  return out;
}

std::vector<std::int64_t> looked_up(const std::vector<std::string>& folders, const ClassIndex& index) {
  std::vector<std::int64_t> out;
  for (const std::string& folder : folders) {
    const auto found = index.find(folder);
    out.push_back(found == index.end() ? kNoClass : found->second);
  }
  return out;
}

std::vector<std::int64_t> numbered(const std::vector<std::string>& folders, std::int64_t classes) {
  std::vector<std::int64_t> out;
  for (const std::string& folder : folders) {
    std::int64_t value = kNoClass;
    const auto [end, error] = std::from_chars(folder.data(), folder.data() + folder.size(), value);
    const bool whole = error == std::errc() && end == folder.data() + folder.size();
    out.push_back(whole && value >= 0 && value < classes ? value : kNoClass);
  }
  return out;
}

std::int64_t found_in(const std::vector<std::int64_t>& index) {
  return std::count_if(index.begin(), index.end(), [](std::int64_t c) { return c >= 0; });
}

bool all_found(const std::vector<std::int64_t>& index) {
  return found_in(index) == static_cast<std::int64_t>(index.size());
}

/// The folders that are none of `names`, the first of them each with the nearest.
std::string lost_folders(const std::vector<std::string>& folders, const std::vector<std::int64_t>& index,
                         const std::vector<std::string>& names) {
  constexpr std::size_t kListed = 10;
  std::vector<std::string> listed;
  std::size_t lost = 0;
  for (std::size_t i = 0; i < folders.size(); ++i) {
    if (index[i] >= 0 || ++lost > kListed) continue;
    const std::vector<std::string> near = nearest_names(folders[i], names, 1);
    listed.push_back(near.empty() ? fmt::format("\"{}\"", folders[i])
                                  : fmt::format("\"{}\" (nearest: \"{}\")", folders[i], near.front()));
  }
  return fmt::format("{}{}", fmt::join(listed, ", "),
                     lost > kListed ? fmt::format(" and {} more", lost - kListed) : "");
}

bool is_folder(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

bool has_class_folders(const std::filesystem::path& path) {
  if (!is_folder(path)) return false;
  try {
    return !folder_classes(path.string()).empty();
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

ClassMatch match_classes(const std::vector<std::string>& folders, const std::vector<std::string>& names,
                         std::int64_t classes, bool numbers) {
  const std::vector<std::int64_t> by_name = looked_up(folders, index_of_names(names));
  for (std::size_t i = 0; i < folders.size(); ++i)
    require(by_name[i] != kSeveralClasses, kEvaluateOp,
            "two classes of the checkpoint are called \"{}\"; tell them apart with --labels FILE",
            folders[i]);
  if (!names.empty() && all_found(by_name)) return {by_name, ClassMatch::By::name};
  std::vector<std::int64_t> by_synset(folders.size(), kNoClass);
  if (classes == static_cast<std::int64_t>(imagenet_synsets().size()))
    by_synset = looked_up(folders, index_of_names(imagenet_synsets()));
  if (all_found(by_synset)) return {by_synset, ClassMatch::By::synset};
  const std::vector<std::int64_t> by_number = numbered(folders, classes);
  const bool numbers_count = numbers || names.empty();
  if (numbers_count && all_found(by_number)) return {by_number, ClassMatch::By::number};

  require(!numbers, kEvaluateOp, "there are labels up to {}, the checkpoint has {} classes",
          folders.empty() ? 0 : folders.size() - 1, classes);
  const auto lost = [&](const std::vector<std::int64_t>& index) {
    return static_cast<std::int64_t>(folders.size()) - found_in(index);
  };
  if (lost(by_synset) < std::min(lost(by_name), numbers_count ? lost(by_number) : lost(by_name)))
    fail(kEvaluateOp, "{} of {} class folders are none of ImageNet's 1,000 synsets: {}; take them away",
         lost(by_synset), folders.size(), lost_folders(folders, by_synset, imagenet_synsets()));
  if (names.empty())
    fail(kEvaluateOp,
         "{} of {} class folders are no class of the checkpoint, which numbers its {} classes and has no "
         "names: {}; call the folders 0 to {}, or give --labels FILE with the classes' names in order",
         lost(by_number), folders.size(), classes, lost_folders(folders, by_number, {}), classes - 1);
  fail(kEvaluateOp,
       "{} of {} class folders are no class of the checkpoint's {}: {}; rename the folders, or give --labels "
       "FILE with the classes' names in order",
       lost(by_name), folders.size(), classes, lost_folders(folders, by_name, names));
}

EvaluationPlace find_evaluation_place(const std::string& folder, const std::string& split) {
  namespace fs = std::filesystem;
  require(is_folder(folder), kEvaluateOp, "{} is not a folder", folder);
  const fs::path root(folder);
  if (has_idx(folder, "t10k") || has_idx(folder, "train")) {
    const bool train = split == "train";
    const std::string part = train ? "train" : "t10k";
    require(split.empty() || train || split == "test" || split == "t10k", kEvaluateOp,
            "{} holds MNIST's IDX files: --split is test (t10k-...) or train, not {}", folder, split);
    require(has_idx(folder, part), kEvaluateOp, "{} has no {}-images-idx3-ubyte{}", folder, part,
            train ? "" : "; --split train takes the pictures of training");
    return {folder, train ? "train" : "test", part};
  }
  std::vector<std::string> there;
  for (const char* name : {"test", "val", "valid", "train"})
    if (has_class_folders(root / name)) there.push_back(name);
  if (!split.empty()) {
    require(is_folder(root / split), kEvaluateOp, "{} has no folder {}; splits in it: {}", folder, split,
            there.empty() ? "none" : fmt::format("{}", fmt::join(there, ", ")));
    return {(root / split).string(), split, ""};
  }
  require(there.empty() || there.front() != "train", kEvaluateOp,
          "{} has neither test/ nor val/ nor valid/; --split train measures on the pictures of training",
          folder);
  if (!there.empty()) return {(root / there.front()).string(), there.front(), ""};
  return {folder, "", ""};
}

}  // namespace locant
