#include "train/dataset.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>

#include "core/error.h"
#include "core/parallel.h"
#include "core/rng.h"

namespace locant {
namespace fs = std::filesystem;
namespace {

class Subset final : public Dataset {
 public:
  Subset(std::shared_ptr<const Dataset> parent, std::vector<std::int64_t> rows)
      : parent_(std::move(parent)), rows_(std::move(rows)) {
    for (const std::int64_t row : rows_) labels_.push_back(parent_->label(row));
    fingerprint_ = hash_bytes(rows_.data(), rows_.size() * sizeof(rows_[0]), parent_->fingerprint());
  }
  void read(std::int64_t index, std::uint8_t* planes) const override {
    parent_->read(rows_[static_cast<std::size_t>(index)], planes);
  }
  Image picture(std::int64_t index) const override {
    return parent_->picture(rows_[static_cast<std::size_t>(index)]);
  }
  std::string path(std::int64_t index) const override {
    return parent_->path(rows_[static_cast<std::size_t>(index)]);
  }

 private:
  std::shared_ptr<const Dataset> parent_;
  std::vector<std::int64_t> rows_;
};

/// The numbers of all pictures of another dataset, row by row.
class Kept final : public Dataset {
 public:
  Kept(std::shared_ptr<const Dataset> parent, std::vector<std::uint8_t> planes, std::size_t bytes)
      : parent_(std::move(parent)), bytes_(bytes), planes_(std::move(planes)) {
    fingerprint_ = parent_->fingerprint();
    for (std::int64_t i = 0; i < parent_->size(); ++i) labels_.push_back(parent_->label(i));
  }
  void read(std::int64_t index, std::uint8_t* planes) const override {
    std::memcpy(planes, planes_.data() + static_cast<std::size_t>(index) * bytes_, bytes_);
  }
  Image picture(std::int64_t index) const override { return parent_->picture(index); }
  std::string path(std::int64_t index) const override { return parent_->path(index); }

 private:
  std::shared_ptr<const Dataset> parent_;
  std::size_t bytes_;
  std::vector<std::uint8_t> planes_;
};

[[noreturn]] void refuse(const SkippedPicture& picture) {
  fail("data", "{}: {}; without --strict it is left out", picture.path, picture.reason);
}

struct Source {
  enum class Kind { idx, folder } kind;
  std::string folder, part;  // IDX: file name prefix
};

// Where the training and the validation pictures are; an empty folder: nowhere.
struct Places {
  Source train, val{Source::Kind::idx, "", ""}, test{Source::Kind::idx, "", ""};
};

Places find_places(const DataOptions& options) {
  require(!options.path.empty(), "data", "no data given; --data FOLDER names class folders or IDX files");
  require(fs::is_directory(options.path), "data", "{} is not a folder", options.path);
  require(options.val_split >= 0.0 && options.val_split < 1.0, "data",
          "a validation part of {} is not in [0, 1)", options.val_split);
  require(options.val.empty() || options.val_split == 0.0, "data",
          "a validation folder and a split exclude each other");
  const fs::path root(options.path);
  Places places;
  if (has_idx(options.path, "train")) {
    places.train = {Source::Kind::idx, options.path, "train"};
    if (has_idx(options.path, "t10k")) places.val = {Source::Kind::idx, options.path, "t10k"};
  } else if (fs::is_directory(root / "train")) {
    places.train = {Source::Kind::folder, (root / "train").string(), ""};
    for (const char* name : {"validation", "valid", "val"})
      if (fs::is_directory(root / name)) places.val = {Source::Kind::folder, (root / name).string(), ""};
    if (fs::is_directory(root / "test")) places.test = {Source::Kind::folder, (root / "test").string(), ""};
  } else {
    places.train = {Source::Kind::folder, options.path, ""};
  }
  if (!options.val.empty()) {
    require(fs::is_directory(options.val), "data", "{} is not a folder", options.val);
    if (has_idx(options.val, "t10k"))
      places.val = {Source::Kind::idx, options.val, "t10k"};
    else if (has_idx(options.val, "train"))
      places.val = {Source::Kind::idx, options.val, "train"};
    else
      places.val = {Source::Kind::folder, options.val, ""};
  }
  return places;
}

struct Opened {
  std::shared_ptr<const Dataset> data;
  std::vector<std::string> names;  // stable identity of each picture, for splitting
};

Opened open_source(const Source& source, const Preprocess& form, std::vector<std::string>* classes,
                   std::vector<SkippedPicture>* skipped) {
  Opened opened;
  if (source.kind == Source::Kind::idx) {
    std::vector<std::string> found;
    opened.data = open_idx(source.folder, source.part, form, &found);
    if (classes->empty()) *classes = found;
    require(found.size() <= classes->size(), "data", "{}: label {} is not among the {} classes of training",
            source.folder, found.size() - 1, classes->size());
    for (std::int64_t i = 0; i < opened.data->size(); ++i) opened.names.push_back(std::to_string(i));
    return opened;
  }
  if (classes->empty()) *classes = folder_classes(source.folder);
  opened.data = open_folder(source.folder, *classes, form, &opened.names, skipped);
  return opened;
}

// A class that nothing is left of must not be learned as one that never comes.
void check_classes(const Dataset& listed, const Dataset& left, const std::vector<std::string>& classes,
                   const std::vector<SkippedPicture>& skipped) {
  std::vector<std::int64_t> had(classes.size()), has(classes.size());
  for (std::int64_t i = 0; i < listed.size(); ++i) ++had[static_cast<std::size_t>(listed.label(i))];
  for (std::int64_t i = 0; i < left.size(); ++i) ++has[static_cast<std::size_t>(left.label(i))];
  for (std::size_t c = 0; c < classes.size(); ++c) {
    if (had[c] == 0 || has[c] > 0) continue;
    std::int64_t first = 0;
    while (listed.label(first) != static_cast<std::int64_t>(c)) ++first;
    const auto fault = std::find_if(skipped.begin(), skipped.end(), [&](const SkippedPicture& picture) {
      return picture.path == listed.path(first);
    });
    fail("data", "none of the {} pictures of class \"{}\" can be read; the first is {}: {}", had[c],
         classes[c], listed.path(first), fault == skipped.end() ? "left out" : fault->reason);
  }
}

// By name, so that a picture stays on its side when others come or go.
bool goes_to_val(const std::string& name, double part) {
  const std::uint64_t hash = splitmix64(hash_bytes(name.data(), name.size()));
  return static_cast<double>(hash >> 11) * 0x1p-53 < part;
}

}  // namespace

std::uint64_t hash_bytes(const void* data, std::size_t size, std::uint64_t hash) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 0x100000001B3ULL;
  return hash;
}

void to_planes(const Image& image, const Preprocess& form, std::uint8_t* planes) {
  preprocess_bytes(image, form, planes);
}

std::shared_ptr<const Dataset> subset(std::shared_ptr<const Dataset> parent,
                                      const std::vector<std::int64_t>& rows) {
  return std::make_shared<Subset>(std::move(parent), rows);
}

std::shared_ptr<const Dataset> readable(std::shared_ptr<const Dataset> parent, const Preprocess& form,
                                        bool keep, bool strict, const LoadProgress& progress,
                                        std::vector<SkippedPicture>* skipped) {
  const std::int64_t size = parent->size();
  const auto bytes = static_cast<std::size_t>(form.channels * form.rows * form.columns);
  std::vector<std::uint8_t> planes(keep ? static_cast<std::size_t>(size) * bytes : 0);
  std::vector<std::int64_t> rows;
  constexpr std::int64_t kChunk = 256;  // small enough for a quick answer to Ctrl-C
  for (std::int64_t begin = 0; begin < size; begin += kChunk) {
    const std::int64_t count = std::min(kChunk, size - begin);
    std::vector<std::optional<SkippedPicture>> faults(static_cast<std::size_t>(count));
    parallel_for(count, 1, [&](std::int64_t from, std::int64_t to) {
      std::vector<std::uint8_t> scratch(keep ? 0 : bytes);
      for (std::int64_t i = from; i < to; ++i) try {
          parent->read(begin + i,
                       keep ? planes.data() + static_cast<std::size_t>(begin + i) * bytes : scratch.data());
        } catch (const Error& error) {
          faults[static_cast<std::size_t>(i)] = skipped_picture(parent->path(begin + i), error);
        }
    });
    for (std::int64_t i = 0; i < count; ++i) {
      const auto& fault = faults[static_cast<std::size_t>(i)];
      if (fault && strict) refuse(*fault);
      if (fault)
        skipped->push_back(*fault);
      else
        rows.push_back(begin + i);
    }
    if (progress && !progress(begin + count, size))
      throw Cancelled("[data] stopped while pictures were decoded");
  }
  const bool all = static_cast<std::int64_t>(rows.size()) == size;
  if (keep) parent = std::make_shared<Kept>(std::move(parent), std::move(planes), bytes);
  return all ? parent : subset(std::move(parent), rows);
}

Datasets open_datasets(const DataOptions& options, const Preprocess& form, const LoadProgress& progress) {
  const Places places = find_places(options);
  Datasets out;
  std::vector<SkippedPicture> of_val, of_test;
  Opened train = open_source(places.train, form, &out.classes, &out.skipped);
  require(out.classes.size() >= 2, "data", "{}: {} class; training needs at least two", places.train.folder,
          out.classes.size());
  if (options.val_split > 0.0) {
    std::vector<std::int64_t> rows[2];
    for (std::size_t i = 0; i < train.names.size(); ++i)
      rows[goes_to_val(train.names[i], options.val_split)].push_back(static_cast<std::int64_t>(i));
    require(!rows[0].empty() && !rows[1].empty(), "data",
            "a split of {} leaves {} pictures to train on and {} to validate on", options.val_split,
            rows[0].size(), rows[1].size());
    std::vector<bool> had(out.classes.size()), has(out.classes.size());
    for (const int side : {0, 1})
      for (const std::int64_t row : rows[side])
        (side == 0 ? has : had)[static_cast<std::size_t>(train.data->label(row))] = true;
    for (std::size_t c = 0; c < had.size(); ++c)
      if (had[c] && !has[c])
        fail("data",
             "a split of {} leaves class \"{}\" without a picture to train on; take another part, or --val "
             "FOLDER",
             options.val_split, out.classes[c]);
    out.val = subset(train.data, rows[1]);
    out.train = subset(train.data, rows[0]);
  } else {
    out.train = train.data;
    if (!places.val.folder.empty()) {
      out.val = open_source(places.val, form, &out.classes, &of_val).data;
      out.notes.push_back(fmt::format("validating on {}", places.val.folder));
    }
  }
  if (!places.test.folder.empty()) {
    try {
      out.test = open_source(places.test, form, &out.classes, &of_test).data;
      out.notes.push_back(fmt::format("testing on {}, once, when all is done", places.test.folder));
    } catch (const Error& error) {  // pictures without labels, often
      of_test.clear();
      out.notes.push_back(fmt::format("nothing is tested: {}", error.what()));
    }
  }
  for (const auto* others : {&out.skipped, &of_val, &of_test})
    if (options.strict && !others->empty()) refuse(others->front());
  const std::int64_t first = out.train->size(), second = first + (out.val ? out.val->size() : 0),
                     total = second + (out.test ? out.test->size() : 0);
  const std::int64_t bytes = form.channels * form.rows * form.columns;
  const bool keep = total <= options.cache_bytes / bytes;
  if (!keep)
    out.notes.push_back(fmt::format(
        "{} pictures of {} bytes exceed the cache; each is looked at now and decoded again when it is needed",
        total, bytes));
  const std::shared_ptr<const Dataset> listed = out.train;
  out.train = readable(
      listed, form, keep, options.strict,
      [&](std::int64_t done, std::int64_t) { return !progress || progress(done, total); }, &out.skipped);
  check_classes(*listed, *out.train, out.classes, out.skipped);
  if (out.val)
    out.val = readable(
        out.val, form, keep, options.strict,
        [&](std::int64_t done, std::int64_t) { return !progress || progress(first + done, total); }, &of_val);
  if (out.test)
    out.test = readable(
        out.test, form, keep, options.strict,
        [&](std::int64_t done, std::int64_t) { return !progress || progress(second + done, total); },
        &of_test);
  require(!out.val || out.val->size() > 0, "data",
          "none of the {} pictures to validate on can be read; the first is {}", second - first,
          of_val.empty() ? "" : of_val.front().path + ": " + of_val.front().reason);
  if (out.test && out.test->size() == 0) {
    out.notes.push_back(fmt::format("{}: no picture to test on can be read", places.test.folder));
    out.test = nullptr;
  }
  for (const auto* others : {&of_val, &of_test})
    out.skipped.insert(out.skipped.end(), others->begin(), others->end());
  return out;
}

std::vector<std::string> dataset_classes(const DataOptions& options) {
  const Places places = find_places(options);
  if (places.train.kind == Source::Kind::folder) return folder_classes(places.train.folder);
  std::vector<std::string> classes;
  open_idx(places.train.folder, places.train.part, Preprocess{}, &classes);
  return classes;
}

}  // namespace locant
