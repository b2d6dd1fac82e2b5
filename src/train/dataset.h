#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/preprocess.h"

namespace locant {

/// Labelled pictures as a model sees them, before augmentation and normalisation: 8-bit planes (channels,
/// rows, columns).
class Dataset {
 public:
  virtual ~Dataset() = default;
  std::int64_t size() const { return static_cast<std::int64_t>(labels_.size()); }
  std::int64_t label(std::int64_t index) const { return labels_[static_cast<std::size_t>(index)]; }
  /// Writes the planes of one picture. Thread-safe. Throws Error when a file cannot be decoded.
  virtual void read(std::int64_t index, std::uint8_t* planes) const = 0;
  /// What the numbers depend on: names, labels and sizes (or the bytes themselves).
  std::uint64_t fingerprint() const { return fingerprint_; }

 protected:
  std::vector<std::int64_t> labels_;
  std::uint64_t fingerprint_ = 0;
};

struct DataOptions {
  /// One of: a folder with `train/CLASS/...` (and `val/CLASS/...`); a folder of class folders; a folder with
  /// MNIST's IDX files (train-images-idx3-ubyte, ... and t10k-...).
  std::string path{};
  /// Another place to validate on; empty: the val/ or t10k- part of `path` where there is one.
  std::string val{};
  double val_split =
      0.0;  ///< part of the training pictures to validate on instead, chosen by a hash of their names
  std::int64_t cache_bytes = std::int64_t{2} << 30;  ///< decoded pictures are kept in memory up to here
};

struct Datasets {
  std::shared_ptr<const Dataset> train, val;  ///< val may be null
  std::vector<std::string> classes;           ///< names by label
  std::vector<std::string> notes;             ///< lines for people: what was found, what was passed over
};

/// Called while pictures are decoded: (done, total); returns false to stop, which throws Stopped.
using LoadProgress = std::function<bool(std::int64_t, std::int64_t)>;
struct Stopped {};

/// Opens what `options` says, as pictures of `form`'s size and channels. Throws Error when a place is
/// missing, empty or has no two classes, when a validation class is unknown to training, or when a picture is
/// broken (named).
Datasets open_datasets(const DataOptions& options, const Preprocess& form, const LoadProgress& progress);

/// The class names alone, without decoding a picture.
std::vector<std::string> dataset_classes(const DataOptions& options);

/// A picture as 8-bit planes: `form`'s resize and crop without its normalisation.
void to_planes(const Image& image, const Preprocess& form, std::uint8_t* planes);

/// Some rows of another dataset.
std::shared_ptr<const Dataset> subset(std::shared_ptr<const Dataset> parent,
                                      const std::vector<std::int64_t>& rows);

// The two kinds of sources. An IDX file's classes are "0", "1", ... of the labels in it.
bool has_idx(const std::string& folder, const std::string& part);
std::shared_ptr<const Dataset> open_idx(const std::string& folder, const std::string& part,
                                        const Preprocess& form, std::vector<std::string>* classes);
std::vector<std::string> folder_classes(const std::string& folder);
std::shared_ptr<const Dataset> open_folder(const std::string& folder, const std::vector<std::string>& classes,
                                           const Preprocess& form, std::vector<std::string>* names);
/// The same numbers, decoded once.
std::shared_ptr<const Dataset> cached(std::shared_ptr<const Dataset> parent, const Preprocess& form,
                                      const LoadProgress& progress);

/// 64-bit FNV-1a, continued from `hash`.
std::uint64_t hash_bytes(const void* data, std::size_t size, std::uint64_t hash = 0xCBF29CE484222325ULL);

}  // namespace locant
