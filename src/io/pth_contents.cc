#include "io/pth_contents.h"

#include <algorithm>
#include <array>
#include <optional>

#include "io/pth_tensors.h"

namespace locant {
namespace {

using pickle::Document;
using pickle::Kind;
using pickle::Ref;
using pickle::Value;

constexpr int kMaxDepth = 32;
constexpr std::size_t kMaxPthName = 1024;
constexpr std::size_t kMaxPthNotes = 16;
constexpr std::uint64_t kSpareMetadata = std::uint64_t{1} << 20;

/// Classes whose objects are their attributes and nothing else.
constexpr std::array<std::string_view, 3> kNamespaces = {"argparse.Namespace", "types.SimpleNamespace",
                                                         "easydict.EasyDict"};

/// Walks the tree of dicts.
class Interpreter {
 public:
  Interpreter(const Document& document, const std::string& file, std::uint64_t file_bytes)
      : values_(document, file),
        file_bytes_(file_bytes),
        tensors_(values_, file_bytes, contents_),
        visited_(document.values.size(), false),
        plain_(document.values.size(), false) {}

  PthContents run() {
    const Ref root = values_.document().root;
    visit(root, "", 0);
    if (contents_.tensors.empty())
      values_.refuse(
          root, "no tensors are found{}; save model.state_dict()",
          contents_.notes.empty() ? "" : fmt::format(" ({})", contents_.notes.front().substr(0, 400)));
    if (passed_over_ > kMaxPthNotes)
      contents_.notes.push_back(fmt::format("and {} more objects passed over", passed_over_ - kMaxPthNotes));
    return std::move(contents_);
  }

 private:
  void pass_over(const std::string& name, const std::string& what) {
    if (++passed_over_ <= kMaxPthNotes)
      contents_.notes.push_back(fmt::format("{}: {} passed over", name.empty() ? "(top)" : name, what));
  }

  void visit(Ref ref, const std::string& name, int depth) {
    const Value& value = values_[ref];
    if (tensors_.is_tensor(ref)) {
      if (!tensors_.add(ref, name.empty() ? "tensor" : name)) pass_over(name, "a second tensor of this name");
    } else if (is_container(value.kind)) {
      visit_items(ref, name, depth);
    } else if (const std::optional<Ref> attributes = attributes_of(ref)) {
      visit_items(*attributes, name, depth);
    } else if (!keep_scalar(ref, name)) {
      pass_over(name, describe(ref));
    }
  }

  void visit_items(Ref ref, const std::string& name, int depth) {
    const Value& value = values_[ref];
    const bool dict = value.kind == Kind::dict;
    if (visited_[ref]) {
      if (!plain_[ref]) pass_over(name, "a container that occurs before,");
      return;
    }
    visited_[ref] = true;
    // Plain numbers (a pair of betas) may well be shared: nothing of theirs would be listed.
    plain_[ref] = value.items.empty() || (!dict && std::all_of(value.items.begin(), value.items.end(),
                                                               [&](Ref item) { return is_scalar(item); }));
    if (plain_[ref]) return;
    if (depth == kMaxDepth)
      return pass_over(name, fmt::format("what is nested more than {} deep", kMaxDepth));
    for (std::size_t i = 0; i < value.items.size(); i += dict ? 2 : 1) {
      const Ref child = value.items[dict ? i + 1 : i];
      if (!dict && is_scalar(child)) continue;
      const std::optional<std::string> key = dict ? key_text(value.items[i]) : fmt::format("{}", i);
      if (!key)
        pass_over(name, "an entry whose key is no text");
      else if (name.size() + 1 + key->size() > kMaxPthName)
        pass_over(name, fmt::format("an entry whose name is longer than {} characters", kMaxPthName));
      else
        visit(child, name.empty() ? *key : name + "." + *key, depth + 1);
    }
  }

  static bool is_container(Kind kind) {
    return kind == Kind::dict || kind == Kind::list || kind == Kind::tuple;
  }
  /// Numbers in lists (a history of losses) are neither tensors nor worth a metadata entry each.
  bool is_scalar(Ref ref) const { return values_[ref].kind < Kind::list; }

  /// The dict of an object that is no more than one.
  std::optional<Ref> attributes_of(Ref ref) const {
    const Value& value = values_[ref];
    if (value.kind != Kind::call || value.items.size() < 3 || values_[value.items[2]].kind != Kind::dict)
      return std::nullopt;
    const std::string_view name = values_.global(value.items[0]);
    const bool known = std::find(kNamespaces.begin(), kNamespaces.end(), name) != kNamespaces.end();
    return known ? std::optional<Ref>(value.items[2]) : std::nullopt;
  }

  std::optional<std::string> key_text(Ref ref) const {
    const Value& key = values_[ref];
    if (key.kind == Kind::integer) return fmt::format("{}", key.integer);
    if (key.kind != Kind::string && key.kind != Kind::bytes) return std::nullopt;
    // One beyond the limit is as good as all of a long one.
    return std::string(key.text.substr(0, kMaxPthName + 1));
  }

  /// True when the value is None or a scalar (which is then metadata).
  bool keep_scalar(Ref ref, const std::string& name) {
    const Value& value = values_[ref];
    std::string text;
    switch (value.kind) {
      case Kind::none:
        return true;
      case Kind::boolean:
        text = value.integer != 0 ? "true" : "false";
        break;
      case Kind::integer:
        text = fmt::format("{}", value.integer);
        break;
      case Kind::real:
        text = fmt::format("{}", value.real);
        break;
      case Kind::string:
        break;
      default:
        return false;
    }
    const std::string_view kept = value.kind == Kind::string ? value.text : std::string_view(text);
    // One long text may be referred to under many names: keep the sum in proportion to the file.
    const std::uint64_t sum = metadata_bytes_ + name.size() + kept.size();
    if (sum > file_bytes_ + kSpareMetadata) return false;
    metadata_bytes_ = sum;
    contents_.metadata.emplace(name, kept);
    return true;
  }

  std::string describe(Ref ref) const {
    switch (values_[ref].kind) {
      case Kind::call:
        return "an object of " + values_.class_of(ref);
      case Kind::global:
        return "the class " + values_.class_of(ref);
      case Kind::persistent:
        return "a storage without a tensor";
      case Kind::string:
        return "a long text";
      default:
        return "an object";
    }
  }

  PthValues values_;
  std::uint64_t file_bytes_;
  PthContents contents_;
  PthTensors tensors_;
  std::vector<bool> visited_;
  std::vector<bool> plain_;  ///< of those visited, the ones that hold nothing to list
  std::size_t passed_over_ = 0;
  std::uint64_t metadata_bytes_ = 0;
};

}  // namespace

PthContents interpret_pth(const Document& document, const std::string& file, std::uint64_t file_bytes) {
  return Interpreter(document, file, file_bytes).run();
}

}  // namespace locant
