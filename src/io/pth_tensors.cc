#include "io/pth_tensors.h"

#include <algorithm>

namespace locant {
namespace {

using pickle::Kind;
using pickle::Ref;
using pickle::Value;

constexpr int kMaxWraps = 32;
constexpr std::size_t kMaxPthTypeName = 100;
constexpr std::size_t kMaxPthAxes = 64;
constexpr std::uint64_t kSpareNames = std::uint64_t{1} << 20;

}  // namespace

PthTensors::PthTensors(const PthValues& values, std::uint64_t file_bytes, PthContents& contents)
    : values_(values), file_bytes_(file_bytes), contents_(contents) {
  for (Ref ref = 0; ref < values_.document().values.size(); ++ref)
    if (values_[ref].kind == Kind::persistent) add_storage(ref);
}

/// ("storage", type, key, location, numel[, view]) with view = None or (view key, offset, numel)
void PthTensors::add_storage(Ref ref) {
  const Ref id = values_[ref].items[0];
  const std::vector<Ref>& items = values_[id].items;
  if (values_[id].kind != Kind::tuple || items.empty() || values_[items[0]].text != "storage") return;
  if (items.size() < 5)
    values_.refuse(ref, "a storage is described by {} instead of 5 or 6 items", items.size());
  const std::string_view type = values_.global(items[1]);
  const PthType* known = pth_storage_type(type);
  if (known == nullptr) values_.refuse(ref, "unknown kind of storage \"{}\"", type.substr(0, 200));
  const Value& key = values_[items[2]];
  if (key.kind != Kind::string || key.text.empty() || key.text.size() > 255)
    values_.refuse(ref, "a storage has no proper key");
  const std::int64_t numel = values_.count(items[4], "the number of elements of a storage");

  const auto [found, fresh] = storages_.emplace(std::string(key.text), contents_.storages.size());
  if (fresh)
    contents_.storages.push_back({std::string(key.text), std::string(type), known->element_size, numel, 0});
  const PthStorage& storage = contents_.storages[found->second];
  if (storage.type != type || storage.numel != numel)
    values_.refuse(ref, "storage \"{}\" is {} x {} here and {} x {} elsewhere", storage.key, numel, type,
                   storage.numel, storage.type);
  View view{found->second, known, 0, numel};
  if (items.size() > 5 && values_[items[5]].kind != Kind::none) {
    const std::vector<Ref>& part = values_.sequence(items[5], "the view of a storage");
    if (part.size() != 3) values_.refuse(ref, "the view of a storage has {} instead of 3 items", part.size());
    view.begin = values_.count(part[1], "the offset of a storage's view");
    view.numel = values_.count(part[2], "the size of a storage's view");
    if (view.begin > numel || view.numel > numel - view.begin)
      values_.refuse(ref, "a view [{}, +{}) passes the end of storage \"{}\" with {} elements", view.begin,
                     view.numel, storage.key, numel);
  }
  views_.emplace(ref, view);
}

bool PthTensors::is_tensor(Ref ref) const {
  if (values_[ref].kind != Kind::call) return false;
  const std::string_view name = values_.global(values_[ref].items[0]);
  return name.starts_with("torch._utils._rebuild_") || name.starts_with("torch._tensor._rebuild_") ||
         name == "torch.nn.parameter.Parameter";
}

bool PthTensors::add(Ref ref, const std::string& name) {
  if (!names_.insert(name).second) return false;
  // One tensor may stand under many names: keep their sum in proportion to the file.
  name_bytes_ += name.size();
  if (name_bytes_ > file_bytes_ + kSpareNames)
    values_.refuse(ref, "the names of the tensors take more than the {} bytes of the file", file_bytes_);
  // A Parameter or a subclass wraps the call that builds the plain tensor.
  Ref callable = values_[ref].items[0], arguments = values_[ref].items[1];
  for (int depth = 0;; ++depth) {
    if (depth == kMaxWraps)
      values_.refuse(ref, "tensor \"{}\" is wrapped more than {} times", name, kMaxWraps);
    const std::string_view function = values_.global(callable);
    const std::vector<Ref>& items = values_.sequence(arguments, "the arguments of a tensor");
    if (function == "torch._tensor._rebuild_from_type_v2" || function == "torch._tensor._rebuild_from_type") {
      if (items.size() < 3) values_.refuse(ref, "tensor \"{}\" has too few arguments", name);
      callable = items[0];
      arguments = items[2];
    } else if (function.starts_with("torch._utils._rebuild_parameter") ||
               function == "torch._utils._rebuild_device_tensor_from_cpu_tensor" ||
               function == "torch.nn.parameter.Parameter") {
      if (items.empty() || !is_tensor(items[0]))
        values_.refuse(ref, "parameter \"{}\" holds no tensor", name);
      callable = values_[items[0]].items[0];
      arguments = values_[items[0]].items[1];
    } else {
      add_plain(ref, name, function, items);
      return true;
    }
  }
}

/// (storage, offset, size, stride, ...); version 3 also names the dtype
void PthTensors::add_plain(Ref ref, const std::string& name, std::string_view function,
                           const std::vector<Ref>& items) {
  const bool version3 = function == "torch._utils._rebuild_tensor_v3";
  const bool plain =
      version3 || function == "torch._utils._rebuild_tensor" || function == "torch._utils._rebuild_tensor_v2";
  if (!plain) return add_special(name, function, items);
  if (items.size() < (version3 ? 7u : 4u)) values_.refuse(ref, "tensor \"{}\" has too few arguments", name);
  const auto found = views_.find(items[0]);
  if (found == views_.end()) values_.refuse(ref, "tensor \"{}\" has no storage", name);
  const View& view = found->second;
  PthStorage& storage = contents_.storages[view.storage];
  const PthType* type = version3 ? pth_element_type(values_.global(items[6])) : view.type;
  if (type == nullptr || !type->dtype) {
    const std::string_view told = version3 ? values_.global(items[6]) : type->name;
    return add_other(name, std::string(told), type == nullptr ? 0 : type->element_size, items[2]);
  }
  const std::size_t axes = values_.sequence(items[2], "the shape of a tensor").size();
  if (axes > static_cast<std::size_t>(Shape::kMaxRank))
    return add_other(name, fmt::format("{} with {} axes", dtype_name(*type->dtype), axes), type->element_size,
                     items[2]);
  const std::int64_t size = type->element_size;
  TensorInfo info{name, *type->dtype, shape_of(ref, name, items[2]), 0};
  info.bytes = static_cast<std::uint64_t>(info.shape.numel() * size);
  PthPlace place = place_of(ref, info, items[1], items[3]);
  place.storage = view.storage;
  const std::int64_t available = view.numel * storage.element_size / size;
  if (place.offset > available || place.span > available - place.offset)
    values_.refuse(ref, "tensor \"{}\" of shape {} at offset {} reaches element {} of a storage of {}", name,
                   info.shape.str(), place.offset, place.offset + place.span, available);
  // An expanded tensor repeats its numbers: only as far as memory stays in proportion to the file.
  if (info.shape.numel() > available &&
      static_cast<std::uint64_t>(info.shape.numel()) > file_bytes_ / sizeof(float))
    values_.refuse(ref, "tensor \"{}\" repeats {} numbers into shape {}; save a clone() of what it repeats",
                   name, available, info.shape.str());
  const std::int64_t begin = view.begin * storage.element_size;
  if (begin % size != 0) values_.refuse(ref, "tensor \"{}\" begins inside an element", name);
  place.offset += begin / size;
  ++storage.users;
  contents_.tensors.push_back(std::move(info));
  contents_.places.push_back(place);
}

void PthTensors::add_special(const std::string& name, std::string_view function,
                             const std::vector<Ref>& items) {
  constexpr std::string_view kRebuild = "torch._utils._rebuild_";
  const std::string_view kind =
      function.starts_with(kRebuild) ? function.substr(kRebuild.size()) : std::string_view();
  if (kind == "qtensor" && items.size() > 2) {  // storage, offset, size, ...
    const auto found = views_.find(items[0]);
    const PthType* type = found == views_.end() ? nullptr : found->second.type;
    add_other(name, type == nullptr ? "quantised" : std::string(type->name),
              type == nullptr ? 0 : type->element_size, items[2]);
  } else if (kind.starts_with("sparse_") && items.size() == 2) {  // layout, (tensors, ..., size, ...)
    const std::vector<Ref>& layout = values_[items[0]].items;     // torch.serialization._get_layout(text)
    const Value* text = &values_[items[0]];
    if (text->kind == Kind::call && values_[layout[1]].items.size() == 1)
      text = &values_[values_[layout[1]].items[0]];
    const std::string type = text->kind == Kind::string ? std::string(text->text) : "torch.sparse";
    const std::vector<Ref>& parts = values_[items[1]].items;
    for (std::size_t i = 0; i < std::min<std::size_t>(parts.size(), 5); ++i)
      if (extents_of(parts[i])) return add_other(name, type, 0, parts[i]);
    add_other(name, type, 0, std::nullopt);
  } else if (kind.starts_with("meta_tensor") && items.size() > 1) {  // dtype, size, ...
    add_other(name, std::string(values_.global(items[0])) + " without data", 0, items[1]);
  } else if (kind == "wrapper_subclass" && items.size() > 2) {  // class, dtype, size, ...
    add_other(name, std::string(values_.global(items[0])), 0, items[2]);
  } else {
    add_other(name, kind == "nested_tensor" ? "torch.nested" : std::string(function), 0, std::nullopt);
  }
}

void PthTensors::add_other(const std::string& name, std::string type, std::int64_t element_size,
                           std::optional<Ref> size) {
  TensorInfo info{name, DType::other, {}, 0, type.empty() ? "unknown" : type.substr(0, kMaxPthTypeName)};
  const std::optional<std::vector<std::int64_t>> extents = size ? extents_of(*size) : std::nullopt;
  if (extents) {
    std::int64_t numel = 1;
    for (const std::int64_t extent : *extents) numel *= extent;
    info.bytes = static_cast<std::uint64_t>(numel * element_size);
    if (extents->size() <= static_cast<std::size_t>(Shape::kMaxRank))
      info.shape = Shape(std::span<const std::int64_t>(*extents));
  }
  contents_.tensors.push_back(std::move(info));
  contents_.places.emplace_back();
}

/// The numbers of a size; nothing for what is none, or overflows.
std::optional<std::vector<std::int64_t>> PthTensors::extents_of(Ref size) const {
  const Value& value = values_[size];
  const bool torch_size = value.kind == Kind::call && values_.global(value.items[0]) == "torch.Size";
  if (value.kind != Kind::tuple && value.kind != Kind::list && !torch_size) return std::nullopt;
  const std::vector<Ref>& items = values_.sequence(size, "the shape of a tensor");
  if (items.size() > kMaxPthAxes) return std::nullopt;
  std::vector<std::int64_t> extents;
  std::int64_t numel = 1;
  for (const Ref item : items) {
    const Value& extent = values_[item];
    if (extent.kind != Kind::integer || extent.integer < 0 ||
        __builtin_mul_overflow(numel, extent.integer, &numel) || numel > kMaxPthCount)
      return std::nullopt;
    extents.push_back(extent.integer);
  }
  return extents;
}

Shape PthTensors::shape_of(Ref ref, const std::string& name, Ref size) const {
  const std::vector<Ref>& items = values_.sequence(size, "the shape of a tensor");
  std::vector<std::int64_t> extents;
  std::int64_t numel = 1;
  for (const Ref item : items) {
    extents.push_back(values_.count(item, "an extent of a tensor"));
    if (__builtin_mul_overflow(numel, extents.back(), &numel) || numel > kMaxPthCount)
      values_.refuse(ref, "tensor \"{}\" has a shape whose size overflows: ({})", name,
                     fmt::join(extents, ", "));
  }
  return Shape(std::span<const std::int64_t>(extents));
}

PthPlace PthTensors::place_of(Ref ref, const TensorInfo& info, Ref offset, Ref stride) const {
  PthPlace place;
  place.offset = values_.count(offset, "the offset of a tensor");
  const std::vector<Ref>& items = values_.sequence(stride, "the strides of a tensor");
  if (items.size() != static_cast<std::size_t>(info.shape.rank()))
    values_.refuse(ref, "tensor \"{}\" of shape {} has {} strides", info.name, info.shape.str(),
                   items.size());
  if (info.shape.numel() == 0) return place;
  place.span = 1;
  for (std::size_t axis = 0; axis < items.size(); ++axis) {
    const std::int64_t step = values_.count(items[axis], "a stride of a tensor");
    const std::int64_t extent = info.shape[static_cast<int>(axis)];
    if (extent == 1) continue;  // a stride that is never taken may be anything
    place.strides[axis] = step;
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(step, extent - 1, &reach) ||
        __builtin_add_overflow(place.span, reach, &place.span))
      values_.refuse(ref, "the strides of tensor \"{}\" overflow", info.name);
  }
  return place;
}

}  // namespace locant
