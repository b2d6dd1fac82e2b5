#include "io/pth_values.h"

namespace locant {

using pickle::Kind;
using pickle::Ref;
using pickle::Value;

std::string_view PthValues::global(Ref ref) const {
  return document_[ref].kind == Kind::global ? document_[ref].text : std::string_view();
}

std::string PthValues::class_of(Ref ref) const {
  const Value& value = document_[ref];
  if (value.kind == Kind::call && !global(value.items[0]).empty()) return std::string(global(value.items[0]));
  return value.kind == Kind::global ? std::string(value.text) : "unknown";
}

std::int64_t PthValues::count(Ref ref, const char* what) const {
  const Value& value = document_[ref];
  if (value.kind != Kind::integer || value.integer < 0 || value.integer > kMaxPthCount)
    refuse(ref, "{} is no count from 0 to 2^58", what);
  return value.integer;
}

const std::vector<Ref>& PthValues::sequence(Ref ref, const char* what) const {
  const Value* value = &document_[ref];
  if (value->kind == Kind::call && global(value->items[0]) == "torch.Size") {
    const Value& arguments = document_[value->items[1]];
    if (arguments.kind == Kind::tuple && arguments.items.size() == 1) value = &document_[arguments.items[0]];
  }
  if (value->kind != Kind::tuple && value->kind != Kind::list) refuse(ref, "{} is no tuple", what);
  return value->items;
}

}  // namespace locant
