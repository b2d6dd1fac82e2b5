#include "models/checkpoint.h"

#include <algorithm>

#include "core/error.h"
#include "core/finite.h"
#include "models/config_json.h"

namespace locant {
namespace {

Shape piece_shape(const Shape& shape, const SourcePiece& piece) {
  if (piece.rows == 0) return shape;
  std::vector<std::int64_t> extents(shape.extents().begin(), shape.extents().end());
  extents[0] = piece.rows;
  return Shape(extents);
}

Tensor initial(const Shape& shape, const Init& init) {
  require(init.kind == Init::Kind::constant, "load",
          "a tensor that a file may lack must start as a constant");
  return Tensor::full(shape, init.value);
}

}  // namespace

CheckpointSource::CheckpointSource(const TensorFile& file, const Renames& renames)
    : file_(file), renames_(renames) {
  const auto& tensors = file.tensors();
  by_name_.reserve(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) by_name_.emplace(renames.normalised(tensors[i].name), i);
}

const TensorInfo* CheckpointSource::find(const std::string& library_name) const {
  const auto it = by_name_.find(library_name);
  return it == by_name_.end() ? nullptr : &file_.tensors()[it->second];
}

bool CheckpointSource::has(const Parameter& parameter) const {
  return find(renames_.to_library(parameter.name, parameter.shape)[0].name) != nullptr;
}

CheckpointFit CheckpointSource::fit(const std::vector<Parameter>& parameters) const {
  CheckpointFit fit;
  const auto& tensors = file_.tensors();
  std::vector<bool> taken(tensors.size(), false);
  for (const Parameter& parameter : parameters) {
    bool whole = true;
    for (const SourcePiece& piece : renames_.to_library(parameter.name, parameter.shape)) {
      const auto it = by_name_.find(piece.name);
      if (it == by_name_.end()) {
        whole = false;
        if (renames_.is_optional(parameter.name))
          fit.defaulted.push_back(parameter.name);
        else
          fit.missing.push_back(piece.name);
        continue;
      }
      taken[it->second] = true;
      const TensorInfo& info = tensors[it->second];
      const Shape expected = piece_shape(parameter.shape, piece);
      if (info.shape == expected) continue;
      whole = false;
      fit.wrong_shape.push_back({info.name, info.shape, expected});
    }
    fit.matched += whole;
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (taken[i]) continue;
    const std::string name = renames_.normalised(tensors[i].name);
    if (renames_.is_derived(name))
      fit.derived.push_back(tensors[i].name);
    else if (renames_.is_unused(name) || by_name_.at(name) != i)  // or a copy under another spelling
      fit.unused.push_back(tensors[i].name);
    else
      fit.unexpected.push_back(tensors[i].name);
  }
  return fit;
}

Tensor CheckpointSource::get(const std::string& name, const Shape& shape, const Init& init) {
  const std::vector<SourcePiece> pieces = renames_.to_library(name, shape);
  Tensor whole;
  for (const SourcePiece& piece : pieces) {
    const TensorInfo* info = find(piece.name);
    if (info == nullptr) {
      if (renames_.is_optional(name)) return initial(shape, init);
      fail("load", "{}: no tensor {}", file_.path(), piece.name);
    }
    const Shape expected = piece_shape(shape, piece);
    if (info->shape != expected)
      fail("load", "{}: {} is {}; {} was expected", file_.path(), info->name, info->shape.str(),
           expected.str());
    const Tensor part = file_.read(info->name);
    const std::string bad = not_finite(part);
    require(bad.empty(), "load",
            "{}: tensor {} holds {}: the file is damaged, or its training diverged; take another",
            file_.path(), info->name, bad);
    if (pieces.size() == 1 && part.is_borrowed()) {
      held_[name] = info->name;
      return part;
    }
    if (pieces.size() > 1) {
      if (!whole.defined()) whole = Tensor(shape);
      std::copy_n(part.data(), part.numel(), whole.data() + piece.row * (shape.numel() / shape[0]));
    } else {
      whole = part;  // converted, so it has left the file already
    }
    file_.release(info->name);
  }
  return whole;
}

void CheckpointSource::release(const std::string& name) {
  const auto it = held_.find(name);
  if (it == held_.end()) return;
  file_.release(it->second);
  held_.erase(it);
}

namespace {

/// "3 tensors missing: a (nearest in the file: b), c, d" with at most eight names.
std::string list_names(const std::vector<std::string>& names, const std::vector<std::string>& others,
                       const char* what, const char* nearest) {
  constexpr std::size_t kShown = 8, kCompared = 400;
  if (names.empty()) return "";
  const std::vector<std::string> candidates(
      others.begin(), others.begin() + static_cast<std::ptrdiff_t>(std::min(others.size(), kCompared)));
  std::string out = fmt::format("{} tensor{} {}: ", names.size(), names.size() == 1 ? "" : "s", what);
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    const auto near = nearest_names(names[i], candidates, 1);
    out += (i == 0 ? "" : ", ") + names[i];
    if (!near.empty()) out += fmt::format(" (nearest {}: {})", nearest, near[0]);
  }
  if (names.size() > kShown) out += fmt::format(" and {} more", names.size() - kShown);
  return out;
}

}  // namespace

std::string describe(const CheckpointFit& fit) {
  std::vector<std::string> parts;
  if (!fit.missing.empty())
    parts.push_back(list_names(fit.missing, fit.unexpected, "missing", "in the file"));
  if (!fit.unexpected.empty())
    parts.push_back(list_names(fit.unexpected, fit.missing, "unexpected", "of the model"));
  if (!fit.wrong_shape.empty()) {
    std::string text = fmt::format("{} of another shape: ", fit.wrong_shape.size());
    for (std::size_t i = 0; i < std::min<std::size_t>(fit.wrong_shape.size(), 4); ++i) {
      const auto& wrong = fit.wrong_shape[i];
      text += fmt::format("{}{} is {}, the model has {}", i == 0 ? "" : "; ", wrong.name, wrong.in_file.str(),
                          wrong.expected.str());
    }
    if (fit.wrong_shape.size() > 4) text += fmt::format("; and {} more", fit.wrong_shape.size() - 4);
    parts.push_back(text);
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace locant
