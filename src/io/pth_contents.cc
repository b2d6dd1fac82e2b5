#include "io/pth_contents.h"

#include <algorithm>
#include <array>
#include <set>

#include "core/error.h"

namespace locant {
namespace {

using pickle::Document;
using pickle::Kind;
using pickle::Ref;
using pickle::Value;

constexpr int kMaxDepth = 32;
constexpr std::size_t kMaxName = 1024;
constexpr std::size_t kMaxNotes = 16;
constexpr std::int64_t kMaxElements = std::int64_t{1} << 58;

struct StorageType {
  std::string_view name;
  std::int64_t element_size;
  std::optional<DType> dtype;
};
constexpr StorageType kStorageTypes[] = {{"FloatStorage", 4, DType::f32},
                                         {"HalfStorage", 2, DType::f16},
                                         {"BFloat16Storage", 2, DType::bf16},
                                         {"DoubleStorage", 8, DType::f64},
                                         {"LongStorage", 8, DType::i64},
                                         {"IntStorage", 4, DType::i32},
                                         {"ShortStorage", 2, DType::i16},
                                         {"CharStorage", 1, DType::i8},
                                         {"ByteStorage", 1, DType::u8},
                                         {"BoolStorage", 1, DType::boolean},
                                         {"UntypedStorage", 1, std::nullopt},
                                         {"ComplexFloatStorage", 8, std::nullopt},
                                         {"ComplexDoubleStorage", 16, std::nullopt},
                                         {"QInt8Storage", 1, std::nullopt},
                                         {"QUInt8Storage", 1, std::nullopt},
                                         {"QInt32Storage", 4, std::nullopt},
                                         {"QUInt4x2Storage", 1, std::nullopt},
                                         {"QUInt2x4Storage", 1, std::nullopt}};

struct TorchType {
  std::string_view name;
  DType dtype;
};
constexpr TorchType kTorchTypes[] = {{"torch.float32", DType::f32},   {"torch.float16", DType::f16},
                                     {"torch.bfloat16", DType::bf16}, {"torch.float64", DType::f64},
                                     {"torch.int64", DType::i64},     {"torch.int32", DType::i32},
                                     {"torch.int16", DType::i16},     {"torch.int8", DType::i8},
                                     {"torch.uint8", DType::u8},      {"torch.bool", DType::boolean}};

const DType* torch_type(std::string_view name) {
  for (const TorchType& entry : kTorchTypes)
    if (entry.name == name) return &entry.dtype;
  return nullptr;
}

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

/// A storage as a persistent identifier names it: the whole of one, or (older form) a part of it.
struct StorageView {
  std::size_t storage = 0;
  const DType* dtype = nullptr;  ///< absent for element types that are not read
  std::int64_t begin = 0;        ///< elements
  std::int64_t numel = 0;
};

class Interpreter {
 public:
  Interpreter(const Document& document, const std::string& file, std::uint64_t file_bytes)
      : document_(document), file_(file), file_bytes_(file_bytes), visited_(document.values.size(), false) {}

  PthContents run() {
    for (Ref ref = 0; ref < document_.values.size(); ++ref)
      if (document_[ref].kind == Kind::persistent) add_storage(ref);
    const Ref root = unwrap(document_.root);
    visit(root, "", 0);
    if (contents_.tensors.empty())
      refuse(
          root, "no tensors are found{}; save model.state_dict()",
          document_[root].kind == Kind::call ? ", the file holds an object of class " + class_of(root) : "");
    strip_module();
    if (passed_over_ > kMaxNotes)
      note(fmt::format("and {} more objects passed over", passed_over_ - kMaxNotes));
    return std::move(contents_);
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(Ref ref, fmt::format_string<Args...> format, Args&&... args) const {
    fail("pth", "{}: byte {}: {}", file_, document_.base + document_[ref].at,
         fmt::format(format, std::forward<Args>(args)...));
  }
  void note(std::string text) { contents_.notes.push_back(std::move(text)); }
  void pass_over(const std::string& name, const std::string& what) {
    if (++passed_over_ <= kMaxNotes)
      note(fmt::format("{}: {} passed over", name.empty() ? "(top)" : name, what));
  }

  // ---- small views of values
  std::string_view global(Ref ref) const {
    return document_[ref].kind == Kind::global ? document_[ref].text : std::string_view();
  }
  std::string class_of(Ref ref) const {
    const Value& value = document_[ref];
    if (value.kind == Kind::call && !global(value.items[0]).empty())
      return std::string(global(value.items[0]));
    return value.kind == Kind::global ? std::string(value.text) : "unknown";
  }
  std::int64_t count(Ref ref, const char* what) const {
    const Value& value = document_[ref];
    if (value.kind != Kind::integer || value.integer < 0 || value.integer > kMaxElements)
      refuse(ref, "{} is no count from 0 to 2^58", what);
    return value.integer;
  }
  /// Items of a tuple, or of torch.Size((...)).
  const std::vector<Ref>& sequence(Ref ref, const char* what) const {
    const Value* value = &document_[ref];
    if (value->kind == Kind::call && global(value->items[0]) == "torch.Size") {
      const Value& arguments = document_[value->items[1]];
      if (arguments.kind == Kind::tuple && arguments.items.size() == 1)
        value = &document_[arguments.items[0]];
    }
    if (value->kind != Kind::tuple && value->kind != Kind::list) refuse(ref, "{} is no tuple", what);
    return value->items;
  }

  // ---- storages
  /// ("storage", type, key, location, numel[, view]) with view = None or (view key, offset, numel)
  void add_storage(Ref ref) {
    const Ref id = document_[ref].items[0];
    const std::vector<Ref>& items = document_[id].items;
    if (document_[id].kind != Kind::tuple || items.empty() || document_[items[0]].text != "storage") return;
    if (items.size() < 5) refuse(ref, "a storage is described by {} instead of 5 or 6 items", items.size());
    const std::string_view type = global(items[1]);
    const std::string_view short_type = type.substr(type.rfind('.') + 1);
    const auto* known = std::find_if(std::begin(kStorageTypes), std::end(kStorageTypes),
                                     [&](const StorageType& entry) { return entry.name == short_type; });
    if (known == std::end(kStorageTypes) || !starts_with(type, "torch."))
      refuse(ref, "unknown kind of storage \"{}\"", type.substr(0, 200));
    const Value& key = document_[items[2]];
    if (key.kind != Kind::string || key.text.empty() || key.text.size() > 255)
      refuse(ref, "a storage has no proper key");
    const std::int64_t numel = count(items[4], "the number of elements of a storage");

    const auto [found, fresh] = storages_.emplace(std::string(key.text), contents_.storages.size());
    if (fresh)
      contents_.storages.push_back({std::string(key.text), std::string(type), known->element_size, numel, 0});
    const PthStorage& storage = contents_.storages[found->second];
    if (storage.type != type || storage.numel != numel)
      refuse(ref, "storage \"{}\" is {} x {} here and {} x {} elsewhere", storage.key, numel, type,
             storage.numel, storage.type);
    StorageView view{found->second, known->dtype ? &*known->dtype : nullptr, 0, numel};
    if (items.size() > 5 && document_[items[5]].kind != Kind::none) {
      const std::vector<Ref>& part = sequence(items[5], "the view of a storage");
      if (part.size() != 3) refuse(ref, "the view of a storage has {} instead of 3 items", part.size());
      view.begin = count(part[1], "the offset of a storage's view");
      view.numel = count(part[2], "the size of a storage's view");
      if (view.begin > numel || view.numel > numel - view.begin)
        refuse(ref, "a view [{}, +{}) passes the end of storage \"{}\" with {} elements", view.begin,
               view.numel, storage.key, numel);
    }
    views_.emplace(ref, view);
  }

  // ---- tensors
  bool is_tensor(Ref ref) const {
    if (document_[ref].kind != Kind::call) return false;
    const std::string_view name = global(document_[ref].items[0]);
    return starts_with(name, "torch._utils._rebuild_") || starts_with(name, "torch._tensor._rebuild_") ||
           name == "torch.nn.parameter.Parameter";
  }

  void add_tensor(Ref ref, const std::string& name) {
    // A Parameter or a subclass wraps the call that builds the plain tensor.
    Ref callable = document_[ref].items[0], arguments = document_[ref].items[1];
    for (int depth = 0;; ++depth) {
      if (depth == kMaxDepth) refuse(ref, "tensor \"{}\" is wrapped more than {} times", name, kMaxDepth);
      const std::string_view function = global(callable);
      const std::vector<Ref>& items = sequence(arguments, "the arguments of a tensor");
      if (function == "torch._tensor._rebuild_from_type_v2" ||
          function == "torch._tensor._rebuild_from_type") {
        if (items.size() < 3) refuse(ref, "tensor \"{}\" has too few arguments", name);
        callable = items[0];
        arguments = items[2];
      } else if (starts_with(function, "torch._utils._rebuild_parameter") ||
                 function == "torch.nn.parameter.Parameter") {
        if (items.empty() || !is_tensor(items[0])) refuse(ref, "parameter \"{}\" holds no tensor", name);
        callable = document_[items[0]].items[0];
        arguments = document_[items[0]].items[1];
      } else {
        return add_plain_tensor(ref, name, function, items);
      }
    }
  }

  /// (storage, offset, size, stride, ...); version 3 also names the dtype
  void add_plain_tensor(Ref ref, const std::string& name, std::string_view function,
                        const std::vector<Ref>& items) {
    const bool version3 = function == "torch._utils._rebuild_tensor_v3";
    const bool plain = version3 || function == "torch._utils._rebuild_tensor" ||
                       function == "torch._utils._rebuild_tensor_v2";
    if (!plain)
      refuse(ref, "tensor \"{}\" is of a kind that is not read ({}{}); save it as a plain dense tensor", name,
             function.substr(0, 100), function == "torch._utils._rebuild_qtensor" ? ": quantised" : "");
    if (items.size() < (version3 ? 7u : 4u)) refuse(ref, "tensor \"{}\" has too few arguments", name);
    const auto found = views_.find(items[0]);
    if (found == views_.end()) refuse(ref, "tensor \"{}\" has no storage", name);
    const StorageView& view = found->second;
    PthStorage& storage = contents_.storages[view.storage];
    const std::string_view type = version3 ? global(items[6]) : std::string_view(storage.type);
    const DType* dtype = version3 ? torch_type(type) : view.dtype;
    if (!dtype)
      refuse(ref, "tensor \"{}\" is of the unsupported type {}", name, type.empty() ? "unknown" : type);
    const std::int64_t size = dtype_size(*dtype);
    TensorInfo info{name, *dtype, shape_of(ref, name, items[2]), 0};
    info.bytes = static_cast<std::uint64_t>(info.shape.numel() * size);
    PthPlace place = place_of(ref, info, items[1], items[3]);
    place.storage = view.storage;
    const std::int64_t available = view.numel * storage.element_size / size;
    if (place.offset > available || place.span > available - place.offset)
      refuse(ref, "tensor \"{}\" of shape {} at offset {} reaches element {} of a storage of {}", name,
             info.shape.str(), place.offset, place.offset + place.span, available);
    // An expanded tensor repeats its numbers: only as far as memory stays in proportion to the file.
    if (info.shape.numel() > available &&
        static_cast<std::uint64_t>(info.shape.numel()) > file_bytes_ / sizeof(float))
      refuse(ref, "tensor \"{}\" repeats {} numbers into shape {}; save a clone() of what it repeats", name,
             available, info.shape.str());
    const std::int64_t begin = view.begin * storage.element_size;
    if (begin % size != 0) refuse(ref, "tensor \"{}\" begins inside an element", name);
    place.offset += begin / size;
    if (!names_.insert(name).second) refuse(ref, "two tensors are named \"{}\"", name);
    ++storage.users;
    contents_.tensors.push_back(std::move(info));
    contents_.places.push_back(place);
  }

  Shape shape_of(Ref ref, const std::string& name, Ref size) const {
    const std::vector<Ref>& items = sequence(size, "the shape of a tensor");
    if (items.size() > static_cast<std::size_t>(Shape::kMaxRank))
      refuse(ref, "tensor \"{}\" has {} axes; up to {} are read", name, items.size(), Shape::kMaxRank);
    std::vector<std::int64_t> extents;
    std::int64_t numel = 1;
    for (const Ref item : items) {
      extents.push_back(count(item, "an extent of a tensor"));
      if (__builtin_mul_overflow(numel, extents.back(), &numel) || numel > kMaxElements)
        refuse(ref, "tensor \"{}\" has a shape whose size overflows: ({})", name, fmt::join(extents, ", "));
    }
    return Shape(std::span<const std::int64_t>(extents));
  }

  PthPlace place_of(Ref ref, const TensorInfo& info, Ref offset, Ref stride) const {
    PthPlace place;
    place.offset = count(offset, "the offset of a tensor");
    const std::vector<Ref>& items = sequence(stride, "the strides of a tensor");
    if (items.size() != static_cast<std::size_t>(info.shape.rank()))
      refuse(ref, "tensor \"{}\" of shape {} has {} strides", info.name, info.shape.str(), items.size());
    if (info.shape.numel() == 0) return place;
    place.span = 1;
    for (std::size_t axis = 0; axis < items.size(); ++axis) {
      const std::int64_t step = count(items[axis], "a stride of a tensor");
      const std::int64_t extent = info.shape[static_cast<int>(axis)];
      if (extent == 1) continue;  // a stride that is never taken may be anything
      place.strides[axis] = step;
      std::int64_t reach = 0;
      if (__builtin_mul_overflow(step, extent - 1, &reach) ||
          __builtin_add_overflow(place.span, reach, &place.span))
        refuse(ref, "the strides of tensor \"{}\" overflow", info.name);
    }
    return place;
  }

  // ---- the tree of dicts
  /// `seen` holds the containers that are known to have none.
  bool holds_tensor(Ref ref, int depth, std::vector<bool>& seen) const {
    if (is_tensor(ref)) return true;
    const Value& value = document_[ref];
    const bool tree = value.kind == Kind::dict || value.kind == Kind::list || value.kind == Kind::tuple;
    if (!tree || depth == kMaxDepth || seen[ref]) return false;
    seen[ref] = true;
    return std::any_of(value.items.begin(), value.items.end(),
                       [&](Ref item) { return holds_tensor(item, depth + 1, seen); });
  }

  Ref unwrap(Ref root) {
    static constexpr std::array<std::string_view, 4> kLevels = {"model", "state_dict", "model_state_dict",
                                                                "model_ema"};
    for (int depth = 0; depth < kMaxDepth; ++depth) {
      const Value& top = document_[root];
      if (top.kind != Kind::dict) return root;
      for (std::size_t i = 1; i < top.items.size(); i += 2)
        if (is_tensor(top.items[i])) return root;
      std::size_t chosen = 0;
      std::vector<bool> seen(document_.values.size(), false);
      for (const std::string_view level : kLevels) {
        for (std::size_t i = 0; i + 1 < top.items.size() && chosen == 0; i += 2) {
          const Value& key = document_[top.items[i]];
          if (key.kind == Kind::string && key.text == level &&
              document_[top.items[i + 1]].kind == Kind::dict && holds_tensor(top.items[i + 1], 0, seen))
            chosen = i + 1;
        }
      }
      if (chosen == 0) return root;
      note(fmt::format("tensors are taken from \"{}\"", document_[top.items[chosen - 1]].text));
      keep_beside(top, chosen);
      root = top.items[chosen];
    }
    return root;
  }

  /// Scalars beside an unwrapped level are metadata, its other neighbours one note.
  void keep_beside(const Value& top, std::size_t chosen) {
    std::vector<std::string> others;
    for (std::size_t i = 1; i < top.items.size(); i += 2) {
      if (i == chosen) continue;
      const std::optional<std::string> key = key_text(top.items[i - 1]);
      if (key && !keep_scalar(top.items[i], *key) && others.size() < kMaxNotes)
        others.push_back(key->substr(0, 100));
    }
    if (!others.empty()) note(fmt::format("beside it, passed over: {}", fmt::join(others, ", ")));
  }

  std::optional<std::string> key_text(Ref ref) const {
    const Value& key = document_[ref];
    if (key.kind == Kind::integer) return fmt::format("{}", key.integer);
    if (key.kind != Kind::string && key.kind != Kind::bytes) return std::nullopt;
    if (key.text.size() > kMaxName)
      refuse(ref, "a name of {} characters; up to {} are read", key.text.size(), kMaxName);
    return std::string(key.text);
  }

  /// True when the value is None or a scalar (which is then metadata).
  bool keep_scalar(Ref ref, const std::string& name) {
    const Value& value = document_[ref];
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
        text = std::string(value.text);
        break;
      default:
        return false;
    }
    // One long text may be referred to under many names: keep the sum in proportion to the file.
    metadata_bytes_ += text.size();
    if (metadata_bytes_ > file_bytes_) return false;
    contents_.metadata.emplace(name, std::move(text));
    return true;
  }

  void visit(Ref ref, const std::string& name, int depth) {
    if (name.size() > kMaxName)
      refuse(ref, "a name of {} characters; up to {} are read", name.size(), kMaxName);
    const Value& value = document_[ref];
    const bool dict = value.kind == Kind::dict;
    if (is_tensor(ref)) {
      add_tensor(ref, name.empty() ? "tensor" : name);
    } else if (dict || value.kind == Kind::list || value.kind == Kind::tuple) {
      if (depth == kMaxDepth) refuse(ref, "dicts are nested more than {} deep at \"{}\"", kMaxDepth, name);
      if (visited_[ref] && !value.items.empty()) return pass_over(name, "a container that occurs before,");
      visited_[ref] = true;
      for (std::size_t i = 0; i < value.items.size(); i += dict ? 2 : 1) {
        const std::optional<std::string> key = dict ? key_text(value.items[i]) : fmt::format("{}", i);
        const Ref child = value.items[dict ? i + 1 : i];
        if (!key)
          pass_over(name, "an entry whose key is no text");
        else if (dict || !is_scalar(child))
          visit(child, name.empty() ? *key : name + "." + *key, depth + 1);
      }
    } else if (!keep_scalar(ref, name)) {
      pass_over(name, describe(ref));
    }
  }

  /// Numbers in lists (a history of losses) are neither tensors nor worth a metadata entry each.
  bool is_scalar(Ref ref) const { return document_[ref].kind < Kind::list; }

  std::string describe(Ref ref) const {
    switch (document_[ref].kind) {
      case Kind::call:
        return "an object of " + class_of(ref);
      case Kind::global:
        return "the class " + class_of(ref);
      case Kind::persistent:
        return "a storage without a tensor";
      case Kind::string:
        return "a long text";
      default:
        return "an object";
    }
  }

  void strip_module() {
    constexpr std::string_view kPrefix = "module.";
    std::vector<TensorInfo>& tensors = contents_.tensors;
    const bool all = std::all_of(tensors.begin(), tensors.end(),
                                 [&](const TensorInfo& info) { return starts_with(info.name, kPrefix); });
    if (!all) return;
    for (TensorInfo& info : tensors) info.name.erase(0, kPrefix.size());
    note("the prefix \"module.\" is taken off every name");
  }

  const Document& document_;
  const std::string& file_;
  std::uint64_t file_bytes_;
  PthContents contents_;
  std::map<std::string, std::size_t> storages_;
  std::map<Ref, StorageView> views_;
  std::set<std::string> names_;
  std::vector<bool> visited_;
  std::size_t passed_over_ = 0;
  std::uint64_t metadata_bytes_ = 0;
};

}  // namespace

PthContents interpret_pth(const Document& document, const std::string& file, std::uint64_t file_bytes) {
  return Interpreter(document, file, file_bytes).run();
}

}  // namespace locant
