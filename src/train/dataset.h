#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/image.h"
#include "io/preprocess.h"
#include "io/skipped_picture.h"

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
  /// One picture as it is stored, 8-bit RGB of its own size (grey is repeated); decoded at each call.
  /// Thread-safe. Throws Error when a file cannot be decoded.
  virtual Image picture(std::int64_t index) const = 0;
  /// The file of one picture; empty where pictures have none of their own.
  virtual std::string path(std::int64_t index) const = 0;
  /// What the numbers depend on: names, labels and sizes (or the bytes themselves).
  std::uint64_t fingerprint() const { return fingerprint_; }

 protected:
  std::vector<std::int64_t> labels_;
  std::uint64_t fingerprint_ = 0;
};

struct DataOptions {
  /// One of: a folder with `train/CLASS/...` (and `val/`, `valid/` or `validation/`, and `test/`); a folder
  /// of class folders; a folder with MNIST's IDX files (train-images-idx3-ubyte, ... and t10k-...).
  std::string path{};
  /// Another place to validate on; empty: the val/ or t10k- part of `path` where there is one.
  std::string val{};
  double val_split =
      0.0;  ///< part of the training pictures to validate on instead, chosen by a hash of their names
  std::int64_t cache_bytes = std::int64_t{2} << 30;  ///< decoded pictures are kept in memory up to here
  bool strict = false;  ///< the first picture that cannot be used is an Error; else it is left out
};

struct Datasets {
  std::shared_ptr<const Dataset> train, val;  ///< val may be null
  std::shared_ptr<const Dataset> test;        ///< pictures that nothing is chosen by; may be null
  std::vector<std::string> classes;           ///< names by label
  std::vector<std::string> notes;             ///< lines for people: what was found, what was passed over
  std::vector<SkippedPicture> skipped;        ///< left out, by name: of training, then of validation
};

/// Called while pictures are decoded: (done, total); returns false to stop, which throws Cancelled.
using LoadProgress = std::function<bool(std::int64_t, std::int64_t)>;

/// Opens what `options` says, as pictures of `form`'s size and channels. Every picture is decoded once here,
/// kept or not, so that which of them are left out (damaged, empty, unreadable, no regular file) is settled
/// before the first step: a function of the files alone, and part of the fingerprint. Throws Error when a
/// place is missing, empty or has no two classes, when a validation class is unknown to training, when a
/// class of training or the whole of validation is left without a picture, or, if `strict`, for the first
/// picture that would be left out.
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
/// `names`: a stable identity of each picture. What is called a picture and is no file goes to `skipped`.
std::shared_ptr<const Dataset> open_folder(const std::string& folder, const std::vector<std::string>& classes,
                                           const Preprocess& form, std::vector<std::string>* names,
                                           std::vector<SkippedPicture>* skipped);

/// The pictures of `parent` that can be read; the others are added to `skipped`, in order. All are decoded
/// here, `keep`: and their numbers kept. Throws Error for the first that cannot be read if `strict`,
/// Cancelled when `progress` says so.
std::shared_ptr<const Dataset> readable(std::shared_ptr<const Dataset> parent, const Preprocess& form,
                                        bool keep, bool strict, const LoadProgress& progress,
                                        std::vector<SkippedPicture>* skipped);

/// 64-bit FNV-1a, continued from `hash`.
std::uint64_t hash_bytes(const void* data, std::size_t size, std::uint64_t hash = 0xCBF29CE484222325ULL);

}  // namespace locant
