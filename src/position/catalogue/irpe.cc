#include "position/irpe.h"

#include "core/error.h"
#include "position/catalogue/all.h"
#include "position/catalogue/instance.h"

namespace locant {
namespace irpe_encoding {
namespace {

// "product_contextual_k", "cross_bias_qk_per_head": method, mode, sides.
struct Variant {
  IrpeForm form = {};
  std::string sides = "k";
  bool per_head = false;
  bool on(char side) const { return sides.find(side) != std::string::npos; }
};

Variant variant_of(const EncodingCase& c) {
  std::string rest = c.variant.empty() ? "product_contextual_k" : c.variant;
  const auto take = [&](const std::string& word) {
    const bool found = rest.rfind(word, 0) == 0;
    if (found) rest.erase(0, word.size());
    return found;
  };
  Variant out;
  bool known = true;
  if (take("euclidean_")) {
    out.form = {IrpeMethod::euclidean, IrpeMode::contextual, IrpeBins::ratio(2.5)};
  } else if (take("quantised_")) {
    out.form = {IrpeMethod::quantised, IrpeMode::contextual, IrpeBins::ratio(3)};
  } else if (take("cross_")) {
    out.form = {IrpeMethod::cross, IrpeMode::contextual, IrpeBins::ratio(2)};
  } else {
    known = take("product_");
  }
  if (take("bias_")) {
    out.form.mode = IrpeMode::bias;
  } else {
    known = take("contextual_") && known;
  }
  out.sides = rest.substr(0, rest.find('_'));
  rest.erase(0, out.sides.size());
  out.per_head = take("_per_head");
  known = known && rest.empty() && !out.sides.empty() &&
          out.sides.find_first_not_of("qkv") == std::string::npos &&
          !(out.form.mode == IrpeMode::bias && out.on('v'));
  require(known, "irpe",
          "unknown variant \"{}\"; they are METHOD_MODE_SIDES or METHOD_MODE_SIDES_per_head: euclidean, "
          "quantised, cross or product; bias or contextual; letters of q, k and v (v: contextual)",
          c.variant);
  return out;
}

IrpeGrid grid_of(const EncodingCase& c) { return {c.query.rows, c.query.columns, c.prefix}; }

// The paper's buckets pair by pair, written without the lowering: `part` as there, tokens i and j.
std::int64_t plain_bucket(const IrpeForm& form, int part, const IrpeGrid& grid, std::int64_t i,
                          std::int64_t j) {
  const double side = 2 * std::floor(form.bins.beta) + 1;
  const auto g = [&](double x) {
    const double a = form.bins.alpha, size = std::abs(x);
    if (size <= a) return std::nearbyint(x);
    const double t = a + std::log(size / a) / std::log(form.bins.gamma / a) * (form.bins.beta - a);
    return std::copysign(std::floor(std::min(std::nearbyint(t), form.bins.beta)), x);
  };
  if (i < grid.skip || j < grid.skip)
    return static_cast<std::int64_t>(form.method == IrpeMethod::product ? side * side : side);
  const double y = static_cast<double>((i - grid.skip) / grid.columns - (j - grid.skip) / grid.columns);
  const double x = static_cast<double>((i - grid.skip) % grid.columns - (j - grid.skip) % grid.columns);
  const double middle = std::floor(form.bins.beta);
  double id = 0;
  if (form.method == IrpeMethod::euclidean) id = g(std::nearbyint(std::sqrt(y * y + x * x))) + middle;
  if (form.method == IrpeMethod::quantised) id = g(y * y + x * x) + middle;
  if (form.method == IrpeMethod::cross) id = g(part == 0 ? y : x) + middle;
  if (form.method == IrpeMethod::product) id = (g(y) + middle) * side + g(x) + middle;
  return static_cast<std::int64_t>(id);
}

// Tables of one side among the numbers of a reference: entry(h, d, i, j), summed over rows and columns.
struct PlainTables {
  const Variant* variant = nullptr;
  IrpeGrid grid = {};
  char side = 'k';
  std::int64_t width = 1;
  std::vector<const Complexes*> tables = {};

  Complex entry(std::int64_t h, std::int64_t d, std::int64_t i, std::int64_t j) const {
    const IrpeForm& form = variant->form;
    const std::int64_t rows = irpe_buckets(form.method, form.bins, grid.skip);
    const std::int64_t own = variant->per_head ? h : 0;
    Complex sum{};
    for (std::size_t part = 0; part < tables.size(); ++part) {
      const std::int64_t row = plain_bucket(form, static_cast<int>(part), grid, i, j);
      const std::int64_t at = form.mode == IrpeMode::bias ? own * rows + row
                              : side == 'v'               ? (own * rows + row) * width + d
                                                          : (own * width + d) * rows + row;
      sum += (*tables[part])[static_cast<std::size_t>(at)];
    }
    return sum;
  }
};

Complexes reference(const PlainCall& call, const Variant& variant) {
  const EncodingCase& c = call.c;
  std::size_t next = 3;
  const auto tables = [&](char side, std::int64_t width) {
    PlainTables out{&variant, grid_of(c), side, width};
    for (int part = 0; variant.on(side) && part < (variant.form.method == IrpeMethod::cross ? 2 : 1); ++part)
      out.tables.push_back(&call.x[next++]);
    return out;
  };
  const PlainTables on_q = tables('q', c.D), on_k = tables('k', c.D), on_v = tables('v', c.Dv);
  const auto score = [&](auto b, auto h, auto i, auto j) {
    if (variant.form.mode == IrpeMode::bias)
      return call.score(b, h, i, j) + on_k.entry(h, 0, i, j) + on_q.entry(h, 0, j, i);
    Complexes r_k, r_q;
    for (std::int64_t d = 0; d < c.D; ++d)
      r_k.push_back(on_k.entry(h, d, i, j)), r_q.push_back(on_q.entry(h, d, j, i));
    return irpe_score(call.query(b, h, i), call.key(b, h, j), r_k.data(), r_q.data(), c.D);
  };
  return plain_attention(call, score, SeesAll{}, [&](auto b, auto h, auto i, auto j, auto d) {
    return call.value(b, h, j)[d] + on_v.entry(h, d, i, j);
  });
}

EncodingInstance instance(const EncodingCase& c) {
  const Variant variant = variant_of(c);
  const auto maps = std::make_shared<const IrpeMaps>(irpe_maps(variant.form, grid_of(c)));
  Parameters parameters;
  const auto tables = [&](char side, std::int64_t width) {
    IrpeTables made;
    for (int part = 0; variant.on(side) && part < (variant.form.method == IrpeMethod::cross ? 2 : 1);
         ++part) {
      const Var table =
          random_parameter(irpe_shape(variant.form, side, variant.per_head ? c.H : 1, width, c.prefix),
                           c.seed + parameters.size());
      parameters.emplace_back(irpe_name(variant.form, side, part), table);
      made[static_cast<std::size_t>(part)] = table;
    }
    return made;
  };
  Irpe irpe;
  irpe.on_q = tables('q', c.D);
  irpe.on_k = tables('k', c.D);
  irpe.on_v = tables('v', c.Dv);
  return attention_instance(
      c, std::move(parameters),
      [c, irpe, maps](const Context& ctx, AttentionCall& call) {
        add_irpe(ctx, irpe, *maps, call.q, call.k, c.Dv, call.options);
      },
      [variant](const PlainCall& call) { return reference(call, variant); });
}

EncodingCase square(const char* variant, std::int64_t rows, std::int64_t columns, std::int64_t prefix) {
  const Grid grid{1, rows, columns};
  return {.query = grid, .key = grid, .prefix = prefix, .variant = variant};
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = {square("", 1, 1, 1),
                                   square("product_contextual_q", 2, 1, 0),
                                   square("product_contextual_qkv", 3, 3, 1),
                                   square("product_bias_qk_per_head", 2, 5, 0),
                                   square("euclidean_contextual_qk", 4, 2, 2),
                                   square("euclidean_bias_k", 3, 3, 1),
                                   square("quantised_contextual_v_per_head", 2, 4, 1),
                                   square("quantised_bias_q", 3, 2, 1),
                                   square("cross_contextual_qkv", 3, 4, 1),
                                   square("cross_contextual_v_per_head", 2, 3, 2),
                                   square("cross_bias_qk", 6, 3, 1)};
  out[4].B = 2, out[4].D = 3, out[4].Dv = 5;
  out.push_back(square("quantised_contextual_qkv_per_head", 3, 2, 1));
  out.back().H = 3, out.back().D = 1, out.back().Dv = 2;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const IrpeForm form = variant_of(c).form;
  return index_matrix(c, [&](auto i, auto j) { return plain_bucket(form, 0, grid_of(c), i, j); });
}

}  // namespace
}  // namespace irpe_encoding

const Encoding kIrpe = {
    .name = "irpe",
    .title = "learned vectors or numbers per bucket of the 2-D offset, on q, k and v",
    .place = EncodingPlace::vectors,
    .paper = "Wu et al. 2021, iRPE",
    .models = "DeiT and DETR with iRPE",
    .formula = "s = (q.k + q.rK[I_ij] + k.rQ[I_ji]) / sqrt(D), out = sum P (v + rV[I_ij])",
    .lowering = "bucket terms of q rK and k rQ (bias: gather terms); value term",
    .parameters = "R D a side (bias: R), R buckets",
    .multiply_adds = "H N R D a side (bias: 0)",
    .memory = "H N R a side (bias: R H)",
    .grids = EncodingGrids::one_flat,
    .prefix = true,
    .composes_variants = true,
    .cases = irpe_encoding::cases,
    .instance = irpe_encoding::instance,
    .index = irpe_encoding::index,
};

}  // namespace locant
