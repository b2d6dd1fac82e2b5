#include "kernels/attention_band.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/parallel.h"
#include "core/pool.h"
#include "kernels/attention_plan.h"

namespace locant::fused {
namespace {

/// A value term of so few vectors sums probabilities per vector, not per position.
constexpr std::int64_t kMostBuckets = 256;

/// Runs of one length, one code step apart.
struct Grid {
  std::int64_t rows = 0, length = 0, step = 0, code = 0;  ///< of no rows: codes that are no grid
};

Grid grid_of(const std::vector<CodeRun>& runs) {
  if (runs.empty()) return {};
  Grid grid{static_cast<std::int64_t>(runs.size()), runs[0].count, 0, runs[0].code};
  if (runs.size() > 1) grid.step = std::int64_t{runs[1].code} - runs[0].code;
  for (std::size_t x = 0; x < runs.size(); ++x) {
    const std::int64_t code = grid.code + static_cast<std::int64_t>(x) * grid.step;
    if (runs[x].count != grid.length || runs[x].code != code) return {};
  }
  return grid;
}

/// Recodes two grids of one step (row y, column x: code y step + x) for a step of whole registers.
void draw_apart(const Grid& own, const Grid& other, BandCodes& codes) {
  const std::int64_t step = std::max(own.step, other.step), span = own.length + other.length - 1;
  const auto fits = [step](const Grid& grid) {
    return grid.rows == 1 || (grid.rows > 1 && grid.step == step);
  };
  if (!fits(own) || !fits(other) || step < span) return;
  // Powers of two up to a panel: then no row of positions lies in two (column_products).
  const std::int64_t wide = step <= 16           ? 16
                            : step <= 32         ? 32
                            : step <= kBandPanel ? kBandPanel
                                                 : line_up(step);
  const std::int64_t positions = (own.rows + other.rows - 1) * wide;
  const std::int64_t least = other.code - own.code - (own.rows - 1) * step - (own.length - 1) + codes.shift;
  std::vector<std::int32_t> offset_of(static_cast<std::size_t>(positions), -1);
  for (std::int64_t x = 0; x < positions; ++x)
    if (x % wide < span)
      offset_of[static_cast<std::size_t>(x)] =
          codes.offset_of[static_cast<std::size_t>(least + x / wide * step + x % wide)];
  for (std::size_t x = 0; x < codes.row_code.size(); ++x) {
    const auto slot = static_cast<std::int64_t>(x);
    codes.row_code[x] = static_cast<std::int32_t>(slot / own.length * wide + slot % own.length);
  }
  for (std::size_t x = 0; x < codes.runs.size(); ++x)
    codes.runs[x].code = static_cast<std::int32_t>(static_cast<std::int64_t>(x) * wide);
  codes.shift = (own.rows - 1) * wide + own.length - 1;
  codes.positions = positions;
  codes.offset_of = std::move(offset_of);
  codes.row_length = own.length, codes.column_length = other.length, codes.step = wide;
}

/// Where codes descend, their negatives make the longer runs.
BandCodes band_codes(const AttentionArgs& a, const OffsetView& map, Side side) {
  const bool query = side == Side::query;
  const std::int32_t* row = query ? map.query_code : map.key_code;
  const std::int32_t* column = query ? map.key_code : map.query_code;
  const std::int64_t rows = query ? a.Nq : a.Nk, columns = query ? a.Nk : a.Nq;
  BandCodes codes;
  codes.runs = code_runs(column, columns);
  std::int32_t sign = 1;
  if (static_cast<std::int64_t>(codes.runs.size()) > std::max<std::int64_t>(columns / 2, 1)) {
    std::vector<CodeRun> negative = code_runs(column, columns, -1);
    if (negative.size() < codes.runs.size()) {
      codes.runs = std::move(negative);
      sign = -1;
    }
  }
  codes.row_code.resize(static_cast<std::size_t>(rows));
  for (std::int64_t x = 0; x < rows; ++x) codes.row_code[static_cast<std::size_t>(x)] = sign * row[x];
  const bool reversed = query == (sign == 1);
  codes.positions = map.offsets;
  codes.shift = reversed ? map.offsets - 1 - map.origin : map.origin;
  codes.offset_of.resize(static_cast<std::size_t>(map.offsets));
  for (std::int64_t x = 0; x < map.offsets; ++x)
    codes.offset_of[static_cast<std::size_t>(x)] =
        static_cast<std::int32_t>(reversed ? map.offsets - 1 - x : x);
  const Grid own = grid_of(code_runs(codes.row_code.data(), rows)), other = grid_of(codes.runs);
  draw_apart(own, other, codes);
  return codes;
}

/// Table row of a position; negative: none.
std::int64_t map_row(const OffsetView& map, const BandCodes& codes, std::int64_t position) {
  const std::int32_t offset = codes.offset_of[static_cast<std::size_t>(position)];
  return map.map != nullptr && offset >= 0 ? map.map[offset] : offset;
}

std::int64_t table_row(const BandTable& table, std::int64_t x) {
  if (!table.index.empty()) return x;
  return map_row(table.map, table.codes, x);
}

void lay_out(const Plan& plan, bool columns, bool rows, BandTable& table) {
  const std::int64_t lanes = plan.shape.lanes;
  table.heads = table.head_stride == 0 && table.head_scale == nullptr ? 1 : plan.args->H;
  table.padded = ceil_div(table.width, lanes) * lanes;
  table.panels = ceil_div(table.packed, kBandPanel);
  table.as_columns = columns, table.as_rows = rows;
}

BandTable score_band(const Plan& plan, const ScoreTerm& term, bool backward) {
  const AttentionArgs& a = *plan.args;
  const auto& band = std::get<BandTerm>(term.term);
  BandTable table;
  table.codes = band_codes(a, band.offset, band.side);
  table.map = band.offset;
  table.side = band.side;
  table.vectors = band.vectors, table.dvectors = band.dvectors;
  table.head_scale = term.head_scale, table.dhead_scale = term.dhead_scale;
  table.row_stride = band.row_stride, table.head_stride = band.head_stride;
  table.width = a.D;
  table.packed = table.codes.positions;
  // Packed queries hold scale * log2 e, keys hold nothing.
  const bool query = band.side == Side::query;
  table.factor = query ? 1.0f : a.scale * kLog2e;
  table.grad_factor = query ? kLn2 : a.scale;
  lay_out(plan, true, backward, table);
  return table;
}

BandTable value_band(const Plan& plan, const ValueTerm& term, bool backward) {
  const AttentionArgs& a = *plan.args;
  BandTable table;
  table.codes = band_codes(a, term.offset, Side::query);
  table.map = term.offset;
  table.vectors = term.vectors, table.dvectors = term.dvectors;
  table.row_stride = term.row_stride, table.head_stride = term.head_stride;
  table.width = a.Dv;
  table.packed = table.codes.positions;
  if (term.offset.map != nullptr && term.offset.table_rows <= std::min(kMostBuckets, a.Nk / 2)) {
    table.packed = term.offset.table_rows;
    table.index.resize(static_cast<std::size_t>(table.codes.positions));
    for (std::int64_t x = 0; x < table.codes.positions; ++x) {
      const std::int64_t row = map_row(term.offset, table.codes, x);
      table.index[static_cast<std::size_t>(x)] = static_cast<std::int32_t>(row < 0 ? table.packed : row);
    }
  }
  lay_out(plan, backward, !backward, table);
  return table;
}

FactorTable factor_table(const AttentionArgs& a) {
  FactorTable table;
  table.term = a.factor;
  table.codes = band_codes(a, a.factor->offset, Side::query);
  table.heads = a.factor->head_stride == 0 ? 1 : a.H;
  table.padded = line_up(table.codes.positions + 16);
  table.values = Pool::global().allocate(table.heads * table.padded);
  std::fill_n(table.values.get(), table.heads * table.padded, 1.0f);
  for (std::int64_t h = 0; h < table.heads; ++h)
    for (std::int64_t x = 0; x < table.codes.positions; ++x) {
      const std::int64_t index = map_row(a.factor->offset, table.codes, x);
      if (index < 0) continue;
      table.values.get()[h * table.padded + x] =
          a.factor->table[index * a.factor->row_stride + h * a.factor->head_stride];
    }
  return table;
}

/// A chunk's part of a band's gradient.
struct Part {
  const BandGrads* grads = nullptr;
  const float* data = nullptr;
};
using Parts = std::vector<Part>;

/// Elements [begin, end) of the gradient's vectors, for heads [h0, h1), one after the other; `dots` (heads)
/// gets the sums times the vectors.
void reduce_elements(const BandTable& table, const Parts& parts, std::int64_t begin, std::int64_t end,
                     std::int64_t h0, std::int64_t h1, double* dots) {
  std::array<float, 64> sum;
  for (std::int64_t h = h0; h < h1; ++h)
    for (std::int64_t x = 0; x < table.packed; ++x) {
      const float* vector = table.vector(x, h);
      if (vector == nullptr) continue;
      sum.fill(0.0f);
      for (const Part& part : parts) {
        if (!part.grads->meets(table.heads, h)) continue;
        const float* from = part.data + (part.grads->slot(table.heads, h) * table.packed + x) * table.padded;
        for (std::int64_t d = begin; d < end; ++d) sum[static_cast<std::size_t>(d - begin)] += from[d];
      }
      for (std::int64_t d = begin; table.dhead_scale != nullptr && d < end; ++d)
        dots[h] += double{sum[static_cast<std::size_t>(d - begin)]} * vector[d];
      if (table.dvectors == nullptr) continue;
      float* to = table.dvectors + (vector - table.vectors);
      const float factor = table.grad_factor * table.scale_of(h);
      for (std::int64_t d = begin; d < end; ++d) to[d] += factor * sum[static_cast<std::size_t>(d - begin)];
    }
}

/// dvectors += grad_factor * head_scale * sums. Each item owns some elements of every vector that it may
/// meet: the vectors of several positions, and of several heads, may be one.
void reduce_band(const BandTable& table, const Parts& parts) {
  const bool shared = table.head_stride == 0;
  const std::int64_t elements = shared ? 16 : 64;
  const std::int64_t blocks = ceil_div(table.width, elements);
  std::vector<double> dots(static_cast<std::size_t>(blocks * table.heads), 0.0);
  parallel_for((shared ? 1 : table.heads) * blocks, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t item = first; item < last; ++item) {
      const std::int64_t block = item % blocks, begin = block * elements;
      const std::int64_t h0 = shared ? 0 : item / blocks, h1 = shared ? table.heads : h0 + 1;
      reduce_elements(table, parts, begin, std::min(begin + elements, table.width), h0, h1,
                      dots.data() + block * table.heads);
    }
  });
  // The term without its head scale, times dS, summed: the same sums meet the vectors.
  for (std::int64_t x = 0; table.dhead_scale != nullptr && x < blocks * table.heads; ++x)
    table.dhead_scale[x % table.heads] +=
        table.grad_factor * static_cast<float>(dots[static_cast<std::size_t>(x)]);
}

template <class Of>
Parts parts_of(const BackwardPlan& plan, const Of& of) {
  Parts parts;
  for (const ChunkGrads& chunk : plan.chunk_grads)
    if (chunk.bands.count > 0) parts.push_back({&chunk.bands, of(chunk.bands)});
  return parts;
}

void reduce_factor(const BackwardPlan& plan, const FactorTable& table) {
  const GatherTerm& term = *table.term;
  if (term.dtable == nullptr) return;
  for (std::int64_t h = 0; h < table.heads; ++h)
    for (std::int64_t x = 0; x < table.codes.positions; ++x) {
      const std::int64_t index = map_row(term.offset, table.codes, x);
      if (index < 0) continue;
      float sum = 0.0f;
      for (const ChunkGrads& chunk : plan.chunk_grads)
        if (chunk.bands.meets(table.heads, h))
          sum += chunk.bands.factor[chunk.bands.slot(table.heads, h) * table.padded + x];
      term.dtable[index * term.row_stride + h * term.head_stride] += kLn2 * sum;  // scores are base 2
    }
}

}  // namespace

const float* BandTable::vector(std::int64_t x, std::int64_t h) const {
  const std::int64_t row = table_row(*this, x);
  return row < 0 ? nullptr : vectors + row * row_stride + h * head_stride;
}

bool BandPlan::has_key_side() const {
  return std::any_of(scores.begin(), scores.end(),
                     [](const BandTable& table) { return table.side == Side::key; });
}

std::int64_t BandPlan::row_unit(std::int64_t most) const {
  for (const BandTable& table : scores) {
    const BandCodes& codes = table.codes;
    const std::int64_t length = table.side == Side::query ? codes.row_length : codes.column_length;
    if (codes.step > 0 && 2 * length <= most && most % length == 0) return length;
  }
  return kTileRows;
}

void place_bands(const Plan& plan, BandPlan& bands) {
  const AttentionArgs& a = *plan.args;
  bands.per_head = a.B * a.G == 1 && plan.chunks <= a.H;
  if (bands.per_head) return;
  Pool& pool = Pool::global();
  for (std::vector<BandTable>* tables : {&bands.scores, &bands.value})
    for (BandTable& table : *tables) {
      // Windows of columns may be read up to a vector too far.
      if (table.as_columns) table.columns = pool.allocate(table.heads * table.columns_size() + 16);
      if (table.as_rows) table.rows = pool.allocate(table.heads * table.rows_size());
    }
}

std::int64_t BandPlan::pack_items() const {
  std::int64_t items = 0;
  if (per_head) return items;
  for (const BandTable& table : scores) items += table.heads * table.panels;
  for (const BandTable& table : value) items += table.heads * table.panels;
  return items;
}

BandPlan plan_bands(const Plan& plan, bool backward) {
  const AttentionArgs& a = *plan.args;
  BandPlan bands;
  if (a.Nq == 0 || a.Nk == 0) return bands;
  for (const ScoreTerm& term : a.terms)
    if (std::holds_alternative<BandTerm>(term.term)) bands.scores.push_back(score_band(plan, term, backward));
  if (a.value_term != nullptr) bands.value.push_back(value_band(plan, *a.value_term, backward));
  if (a.factor != nullptr) bands.factor.push_back(factor_table(a));
  return bands;
}

void reserve_band_grads(const BackwardPlan& plan, std::int64_t chunk, BandGrads& grads,
                        const std::function<void(float**, std::int64_t)>& reserve) {
  const BandPlan& bands = plan.bands;
  const std::int64_t begin = plan.chunk_begin(chunk), end = plan.chunk_begin(chunk + 1);
  if (begin == end) return;
  // Heads follow each other in the order of work items; with shared keys, after all groups of one.
  const std::int64_t together = plan.shared_keys ? plan.args->G * plan.key_blocks : plan.key_blocks;
  const std::int64_t first = begin / together, last = (end - 1) / together;
  grads.H = plan.args->H;
  grads.first = first % grads.H;
  grads.count = std::min(last - first + 1, grads.H);
  grads.scores.assign(bands.scores.size(), nullptr);
  for (std::size_t t = 0; t < bands.scores.size(); ++t) {
    const BandTable& table = bands.scores[t];
    if (table.wants_gradient())
      reserve(&grads.scores[t], grads.slots(table.heads) * table.packed * table.padded);
  }
  for (const BandTable& table : bands.value)
    if (table.wants_gradient()) reserve(&grads.value, grads.slots(table.heads) * table.packed * table.padded);
  for (const FactorTable& table : bands.factor)
    reserve(&grads.factor, grads.slots(table.heads) * table.padded);
}

void reduce_bands(const BackwardPlan& plan) {
  const BandPlan& bands = plan.bands;
  for (std::size_t t = 0; t < bands.scores.size(); ++t)
    if (bands.scores[t].wants_gradient())
      reduce_band(bands.scores[t], parts_of(plan, [t](const BandGrads& grads) { return grads.scores[t]; }));
  for (const BandTable& table : bands.value)
    if (table.wants_gradient())
      reduce_band(table, parts_of(plan, [](const BandGrads& grads) { return grads.value; }));
  for (const FactorTable& table : bands.factor) reduce_factor(plan, table);
}

}  // namespace locant::fused
