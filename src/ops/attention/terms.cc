#include "ops/attention/terms.h"

#include <utility>

namespace locant {
namespace {

std::array<Var*, 1> vars_of(AttentionTerm::Dense& dense) { return {&dense.bias}; }
std::array<Var*, 1> vars_of(AttentionTerm::Gather& gather) { return {&gather.table}; }
std::array<Var*, 1> vars_of(AttentionTerm::Bucket& bucket) { return {&bucket.numbers}; }
std::array<Var*, 1> vars_of(AttentionTerm::Band& band) { return {&band.vectors}; }
std::array<Var*, 3> vars_of(AttentionTerm::Axis& axis) {
  return {&axis.tables[0], &axis.tables[1], &axis.tables[2]};
}

}  // namespace

const char* AttentionTerm::name() const {
  constexpr std::array<const char*, 5> kNames = {"dense", "gather", "bucket", "band", "axis"};
  static_assert(kNames.size() == std::variant_size_v<decltype(kind)>);
  return kNames[kind.index()];
}

std::vector<Var*> AttentionTerm::vars() {
  std::vector<Var*> out = std::visit(
      [](auto& of) {
        const auto vars = vars_of(of);
        return std::vector<Var*>(vars.begin(), vars.end());
      },
      kind);
  out.push_back(&head_scale);
  return out;
}

std::vector<const Var*> AttentionTerm::vars() const {
  const std::vector<Var*> vars = const_cast<AttentionTerm*>(this)->vars();
  return {vars.begin(), vars.end()};
}

AttentionTerm dense_term(const Var& bias) { return {.kind = AttentionTerm::Dense{bias}}; }

AttentionTerm gather_term(const Var& table, std::shared_ptr<const OffsetMap> map) {
  return {.kind = AttentionTerm::Gather{table, std::move(map)}};
}

AttentionTerm bucket_term(Side side, const Var& numbers, std::shared_ptr<const OffsetMap> map) {
  return {.kind = AttentionTerm::Bucket{side, numbers, std::move(map)}};
}

AttentionTerm band_term(Side side, const Var& vectors, std::shared_ptr<const OffsetMap> map) {
  return {.kind = AttentionTerm::Band{side, vectors, std::move(map)}};
}

AttentionTerm axis_term(const Var& rows, const Var& columns, std::int64_t first_key, const Var& frames) {
  return {.kind = AttentionTerm::Axis{{frames, rows, columns}, first_key}};
}

}  // namespace locant
