#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace locant {

/// How folders are the classes of a checkpoint.
struct ClassMatch {
  std::vector<std::int64_t> index;  ///< of each folder
  enum class By { name, synset, number } by = By::name;
};

/// Finds each folder among the classes, all of them in one way: by name; where there are 1,000 classes, by
/// ImageNet's synsets ("n01440764"); by number where nobody names the classes, or where folders are numbers
/// by nature (`numbers`: labels of an IDX file). `names` may be empty. Throws Error that lists the folders
/// that are no class, each with the nearest one, and for a folder that two classes are called after.
ClassMatch match_classes(const std::vector<std::string>& folders, const std::vector<std::string>& names,
                         std::int64_t classes, bool numbers = false);

/// The class folders of a place, and which part of it they are.
struct EvaluationPlace {
  std::string folder;  ///< that holds the class folders or IDX files
  std::string split;   ///< "test", ...; empty: the place itself
  std::string idx;     ///< "t10k" or "train": a part of MNIST's IDX files; empty: class folders
};
/// `split` if it is given, else the first of test, val and valid that is there with class folders in it, else
/// the place itself; of IDX files t10k as "test", train as "train". Throws Error when there is none, with the
/// ones that there are.
EvaluationPlace find_evaluation_place(const std::string& folder, const std::string& split);

}  // namespace locant
