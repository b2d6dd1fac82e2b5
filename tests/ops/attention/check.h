#pragma once

#include <memory>
#include <numeric>
#include <ostream>

#include "tests/ops/attention/formula.h"

namespace locant::testing {

/// Puts the instruction set back.
class IsaScope {
 public:
  explicit IsaScope(Isa isa) : before_(active_isa()) { set_active_isa(isa); }
  ~IsaScope() { set_active_isa(before_); }
  IsaScope(const IsaScope&) = delete;
  IsaScope& operator=(const IsaScope&) = delete;

 private:
  Isa before_;
};

struct Way {
  std::string name;
  Path path;
  Isa isa;
};
/// Composed, fused as this process runs it, and fused by the scalar reference.
inline std::vector<Way> ways() {
  std::vector<Way> out = {{"composed", Path::composed, active_isa()},
                          {"fused " + std::string(isa_name(active_isa())), Path::fused, active_isa()}};
  if (active_isa() != Isa::reference) out.push_back({"fused reference", Path::fused, Isa::reference});
  return out;
}

/// Result, then the gradient of every input for sum(dy * result).
inline std::vector<Tensor> run_call(const AttentionCall& call, const std::vector<Tensor>& inputs, Path path,
                                    const std::vector<bool>& wanted) {
  const Tensor dy = random_tensor({call.B, call.Nq, call.H * call.Dv}, 99);
  Tape tape;
  std::vector<Var> leaves;
  for (std::size_t i = 0; i < inputs.size(); ++i) leaves.emplace_back(inputs[i], wanted[i]);
  const Var y = call.run({.tape = &tape}, leaves, path);
  if (y.requires_grad()) tape.backward({{y, dy}});
  std::vector<Tensor> out = {y.value()};
  for (const Var& leaf : leaves) out.push_back(leaf.grad());
  return out;
}

/// Every way against numbers that are right: values, gradients, equal bits of two runs, and that an input
/// which wants no gradient gets none and changes nobody else's.
inline void expect_ways(const AttentionCall& call, const std::vector<Tensor>& inputs,
                        const Values<double>& want, double tolerance) {
  const std::vector<bool> all(inputs.size(), true);
  for (const Way& way : ways()) {
    SCOPED_TRACE(way.name);
    const IsaScope scope(way.isa);
    const std::vector<Tensor> got = run_call(call, inputs, way.path, all);
    const std::vector<Tensor> again = run_call(call, inputs, way.path, all);
    std::vector<bool> none(inputs.size(), false);
    expect_close(run_call(call, inputs, way.path, none)[0], want[0], tolerance, "result without a tape");
    for (std::size_t i = 0; i < got.size(); ++i) {
      SCOPED_TRACE(i == 0 ? "result" : "gradient of input " + std::to_string(i - 1));
      ASSERT_TRUE(got[i].defined());
      expect_close(got[i], want[i], i == 0 ? tolerance : 2 * tolerance, "numbers");
      EXPECT_TRUE(std::equal(got[i].values().begin(), got[i].values().end(), again[i].values().begin()));
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      std::vector<bool> one = none;
      one[i] = true;
      const std::vector<Tensor> alone = run_call(call, inputs, way.path, one);
      for (std::size_t j = 0; j < inputs.size(); ++j) EXPECT_EQ(alone[j + 1].defined(), i == j);
      if (alone[i + 1].defined()) expect_close(alone[i + 1], want[i + 1], 2 * tolerance, "gradient alone");
    }
  }
}

/// Every way against the formula, whose gradients are exact (complex step).
inline void check(const std::string& what, const AttentionCall& call, double tolerance = 5e-6) {
  SCOPED_TRACE(what);
  const std::vector<Tensor> inputs = call.inputs();
  const auto formula = [&](const auto& in) {
    using T = typename std::decay_t<decltype(in[0])>::value_type;
    return AttentionFormula<T>(call, in)();
  };
  Values<double> values;
  for (const Tensor& input : inputs) values.push_back(to_double(input));
  Values<double> want = {formula(values)};
  const Tensor dy = random_tensor({call.B, call.Nq, call.H * call.Dv}, 99);
  for (auto& gradient : reference_gradients(formula, inputs, dy, Derivative::complex_step))
    want.push_back(std::move(gradient));
  // Gradients that cancel (a softmax of one key) are rounding of zero: errors are then measured against 1.
  for (std::vector<double>& numbers : want)
    if (std::all_of(numbers.begin(), numbers.end(), [](double x) { return std::abs(x) < 1e-12; }))
      std::fill(numbers.begin(), numbers.end(), 0.0);
  expect_ways(call, inputs, want, tolerance);
}

// ---- maps

using Gather = std::shared_ptr<const OffsetMap>;

/// Offset i - j of plain positions: row Nk - 1 + i - j of Nq + Nk - 1.
inline Gather diagonal_map(std::int64_t Nq, std::int64_t Nk) {
  OffsetMap map;
  map.query_code.resize(static_cast<std::size_t>(Nq));
  map.key_code.resize(static_cast<std::size_t>(Nk));
  std::iota(map.query_code.begin(), map.query_code.end(), 0);
  std::iota(map.key_code.begin(), map.key_code.end(), 0);
  map.origin = static_cast<std::int32_t>(Nk - 1);
  map.offsets = Nq + Nk - 1;
  return std::make_shared<const OffsetMap>(map);
}

/// The same through a map onto `rows` rows, where every fifth offset reads nothing.
inline Gather mapped_diagonal(std::int64_t Nq, std::int64_t Nk, std::int32_t rows) {
  OffsetMap map = *diagonal_map(Nq, Nk);
  for (std::int32_t offset = 0; offset < map.offsets; ++offset)
    map.map.push_back(offset % 5 == 3 ? -1 : offset * 7 % rows);
  return std::make_shared<const OffsetMap>(map);
}

/// Swin's codes on a window of `side` x `side`.
inline Gather window_map(std::int32_t side) {
  OffsetMap map;
  for (std::int32_t y = 0; y < side; ++y)
    for (std::int32_t x = 0; x < side; ++x) map.query_code.push_back(y * (2 * side - 1) + x);
  map.key_code = map.query_code;
  map.origin = (side - 1) * 2 * side;
  map.offsets = (2 * side - 1) * (2 * side - 1);
  return std::make_shared<const OffsetMap>(map);
}

/// BEiT's: a special token in front of rows x columns, and three table rows of its own (to it, from it, on
/// itself) behind the grid's (2 rows - 1)(2 columns - 1).
inline Gather prefix_map(std::int32_t rows, std::int32_t columns) {
  OffsetMap map;
  const std::int32_t width = 2 * columns - 1, M = (rows - 1) * width + columns, grid = (2 * rows - 1) * width;
  map.query_code = {3 * M};  // far enough from the grid's codes that no two kinds of pairs share an offset
  map.key_code = {-5 * M};
  for (std::int32_t n = 0; n < rows * columns; ++n) {
    map.query_code.push_back(n / columns * width + n % columns);
    map.key_code.push_back(map.query_code.back());
  }
  map.origin = M - 1;
  map.offsets = 9 * M;
  map.map.assign(static_cast<std::size_t>(map.offsets), -1);
  const auto row_at = [&](std::int32_t offset) -> std::int32_t& {
    return map.map[static_cast<std::size_t>(offset + M - 1)];
  };
  for (std::int32_t offset = 1 - M; offset < M; ++offset) row_at(offset) = offset + M - 1;
  for (std::int32_t code = 0; code < M; ++code) {
    row_at(code + 5 * M) = grid;
    row_at(3 * M - code) = grid + 1;
  }
  row_at(8 * M) = grid + 2;
  return std::make_shared<const OffsetMap>(map);
}

/// rows x columns tokens in windows of `side`, rolled by `shift`: padding slots where windows do not divide
/// the grid, and regions that do not see each other.
inline std::shared_ptr<const RowMaps> shifted_windows(std::int32_t rows, std::int32_t columns,
                                                      std::int32_t side, std::int32_t shift) {
  RowMaps maps;
  const std::int32_t down = (rows + side - 1) / side, across = (columns + side - 1) / side;
  const auto band = [&](std::int32_t p, std::int32_t n) { return p < n - side ? 0 : p < n - shift ? 1 : 2; };
  maps.groups = down * across;
  maps.queries = maps.keys = side * side;
  for (std::int32_t w = 0; w < down * across; ++w)
    for (std::int32_t n = 0; n < side * side; ++n) {
      const std::int32_t y = w / across * side + n / side, x = w % across * side + n % side;
      const std::int32_t row = (y + shift) % (down * side), column = (x + shift) % (across * side);
      maps.query_rows.push_back(row < rows && column < columns ? row * columns + column : -1);
      maps.query_region.push_back(band(y, down * side) * 3 + band(x, across * side));
    }
  maps.key_rows = maps.query_rows;
  maps.key_region = maps.query_region;
  return std::make_shared<const RowMaps>(maps);
}

// ---- kinds of terms, each for a call of any size

struct TermKind {
  const char* name;
  void (*add)(AttentionCall& call);

  friend void PrintTo(const TermKind& kind, std::ostream* out) { *out << kind.name; }
};

inline const std::vector<TermKind>& term_kinds() {
  static const std::vector<TermKind> kinds = {
      {"dense",
       [](AttentionCall& c) {
         c.options.terms.push_back(dense_term(table({c.H, c.queries(), c.keys()})));
       }},
      {"number a key",
       [](AttentionCall& c) {
         c.options.terms.push_back(dense_term(table({1, c.keys()})));
       }},
      {"gather",
       [](AttentionCall& c) {
         const Gather map = diagonal_map(c.queries(), c.keys());
         c.options.terms.push_back(gather_term(table({map->offsets, c.H}), map));
       }},
      {"mapped gather",
       [](AttentionCall& c) {
         c.options.terms.push_back(gather_term(table({3, c.H}), mapped_diagonal(c.queries(), c.keys(), 3)));
       }},
      {"bucket of queries",
       [](AttentionCall& c) {
         c.options.terms.push_back(
             bucket_term(Side::query, table({c.B, c.Nq, c.H, 4}), mapped_diagonal(c.queries(), c.keys(), 4)));
       }},
      {"bucket of keys",
       [](AttentionCall& c) {
         const Gather map = diagonal_map(c.queries(), c.keys());
         c.options.terms.push_back(bucket_term(Side::key, table({c.B, c.Nk, c.H, map->offsets}), map));
       }},
      {"band of queries",
       [](AttentionCall& c) {
         const Gather map = diagonal_map(c.queries(), c.keys());
         c.options.terms.push_back(band_term(Side::query, table({map->offsets, c.D}), map));
       }},
      {"band of keys",
       [](AttentionCall& c) {
         const Gather map = mapped_diagonal(c.queries(), c.keys(), 5);
         c.options.terms.push_back(band_term(Side::key, table({c.H, 5, c.D}), map));
       }},
      {"axes",
       [](AttentionCall& c) {
         const std::int64_t first = c.keys() % 2, columns = (c.keys() - first) / 2;
         c.options.terms.push_back(
             axis_term(table({c.B, c.Nq, c.H, 2}), table({c.B, c.Nq, c.H, columns}), first));
       }},
      {"factor",
       [](AttentionCall& c) {
         c.options.factor = gather_term(table({3, c.H}), mapped_diagonal(c.queries(), c.keys(), 3));
       }},
      {"value term",
       [](AttentionCall& c) {
         const Gather map = diagonal_map(c.queries(), c.keys());
         c.options.value_term = {table({map->offsets, c.Dv}), map};
       }},
      {"mapped value term a head",
       [](AttentionCall& c) {
         c.options.value_term = {table({c.H, 4, c.Dv}), mapped_diagonal(c.queries(), c.keys(), 4)};
       }},
  };
  return kinds;
}

}  // namespace locant::testing
