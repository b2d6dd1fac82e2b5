#include <algorithm>
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "io/image.h"
#include "io/picture_files.h"
#include "train/dataset.h"
#include "train/idx.h"

namespace locant {
namespace fs = std::filesystem;
namespace {

// The two spellings in which MNIST's files go around.
std::string idx_path(const std::string& folder, const std::string& part, const std::string& what, int rank) {
  for (const char* dot : {"-", "."}) {
    const fs::path path = fs::path(folder) / fmt::format("{}-{}{}idx{}-ubyte", part, what, dot, rank);
    if (fs::is_regular_file(path)) return path.string();
  }
  return {};
}

class IdxDataset final : public Dataset {
 public:
  IdxDataset(IdxArray images, const IdxArray& labels, const Preprocess& form)
      : images_(std::move(images)), form_(form) {
    for (const std::uint8_t label : labels.values) labels_.push_back(label);
    fingerprint_ = hash_bytes(labels.values.data(), labels.values.size(),
                              hash_bytes(images_.values.data(), images_.values.size()));
  }

  void read(std::int64_t index, std::uint8_t* planes) const override {
    const std::int64_t rows = images_.extents[1], columns = images_.extents[2];
    const std::uint8_t* grey = images_.values.data() + index * rows * columns;
    const auto count = static_cast<std::size_t>(rows * columns);
    if (rows == form_.rows && columns == form_.columns) {
      for (std::int64_t c = 0; c < form_.channels; ++c)
        std::memcpy(planes + static_cast<std::size_t>(c) * count, grey, count);
      return;
    }
    to_planes(picture(index), form_, planes);
  }
  Image picture(std::int64_t index) const override {
    const std::int64_t rows = images_.extents[1], columns = images_.extents[2];
    const std::uint8_t* grey = images_.values.data() + index * rows * columns;
    Image image{rows, columns, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * rows * columns))};
    for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = grey[i / 3];
    return image;
  }
  std::string path(std::int64_t) const override { return {}; }

 private:
  IdxArray images_;
  Preprocess form_;
};

class FolderDataset final : public Dataset {
 public:
  FolderDataset(std::string folder, std::vector<std::string> files, std::vector<std::int64_t> labels,
                const Preprocess& form)
      : folder_(std::move(folder)), files_(std::move(files)), form_(form) {
    labels_ = std::move(labels);
    for (const std::string& file : files_) {
      std::error_code gone;  // a dangling link has no size; reading it says so
      std::uint64_t size = fs::file_size(fs::path(folder_) / file, gone);
      if (gone) size = 0;
      fingerprint_ = hash_bytes(file.data(), file.size() + 1, hash_bytes(&size, sizeof(size), fingerprint_));
    }
  }
  void read(std::int64_t index, std::uint8_t* planes) const override {
    to_planes(picture(index), form_, planes);
  }
  Image picture(std::int64_t index) const override { return read_image(path(index)); }
  std::string path(std::int64_t index) const override {
    return (fs::path(folder_) / files_[static_cast<std::size_t>(index)]).string();
  }

 private:
  std::string folder_;
  std::vector<std::string> files_;  // below folder_
  Preprocess form_;
};

std::vector<std::string> sorted_folders(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error, unknown;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (entry->is_directory(unknown) && !is_passed_over(name)) names.push_back(name);
  }
  require(!error, ErrorKind::system, "data", "cannot read the folder {}: {}", folder, error.message());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

bool has_idx(const std::string& folder, const std::string& part) {
  return !idx_path(folder, part, "images", 3).empty();
}

std::shared_ptr<const Dataset> open_idx(const std::string& folder, const std::string& part,
                                        const Preprocess& form, std::vector<std::string>* classes) {
  const std::string images_path = idx_path(folder, part, "images", 3),
                    labels_path = idx_path(folder, part, "labels", 1);
  require(!images_path.empty(), "data", "{}: no {}-images-idx3-ubyte", folder, part);
  require(!labels_path.empty(), "data", "{}: {}-labels-idx1-ubyte is missing beside the pictures", folder,
          part);
  IdxArray images = read_idx(images_path, 3);
  const IdxArray labels = read_idx(labels_path, 1);
  require(labels.extents[0] == images.extents[0], "data", "{} has {} labels, {} has {} pictures", labels_path,
          labels.extents[0], images_path, images.extents[0]);
  const int largest = *std::max_element(labels.values.begin(), labels.values.end());
  for (int label = 0; label <= largest; ++label) classes->push_back(std::to_string(label));
  return std::make_shared<IdxDataset>(std::move(images), labels, form);
}

std::vector<std::string> folder_classes(const std::string& folder) {
  std::vector<std::string> classes = sorted_folders(folder);
  require(!classes.empty(), "data",
          "{}: neither class folders nor IDX files (train-images-idx3-ubyte) are in it", folder);
  return classes;
}

std::shared_ptr<const Dataset> open_folder(const std::string& folder, const std::vector<std::string>& classes,
                                           const Preprocess& form, std::vector<std::string>* names,
                                           std::vector<SkippedPicture>* skipped) {
  std::vector<std::int64_t> labels;
  for (const std::string& name : sorted_folders(folder)) {
    const auto found = std::find(classes.begin(), classes.end(), name);
    require(found != classes.end(), "data", "{}: class folder \"{}\" is not among the {} classes of training",
            folder, name, classes.size());
    const PictureFiles found_files = pictures_in((fs::path(folder) / name).string(), true);
    for (const std::string& path : found_files.others)
      skipped->push_back({path, "no regular file, but a FIFO, a device or a socket"});
    std::vector<std::string> files;
    for (const std::string& path : found_files.pictures)
      files.push_back(fs::relative(path, folder).generic_string());
    require(!files.empty(), "data", "{}/{}: no pictures in it", folder, name);
    std::sort(files.begin(), files.end());
    names->insert(names->end(), files.begin(), files.end());
    labels.insert(labels.end(), files.size(), found - classes.begin());
  }
  return std::make_shared<FolderDataset>(folder, *names, std::move(labels), form);
}

}  // namespace locant
