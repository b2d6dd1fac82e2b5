#include "kernels/attention_plan.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/parallel.h"
#include "core/pool.h"

namespace locant::fused {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
/// Below this much arithmetic a thread costs more than it brings.
constexpr double kFlopsWorthAThread = 5e5;
/// A tile of one head's bias is at most this many floats.
constexpr std::int64_t kMostTile = 1 << 16;
/// A run's copy may write this many floats, whatever its length: a fixed size needs no loop.
constexpr std::int64_t kRunCopy = 8;

float term_factor(const ScoreTerm& term, std::int64_t h) {
  return kLog2e * (term.head_scale != nullptr ? term.head_scale[h] : 1.0f);
}

GatherTable gather_table(const AttentionArgs& args, const ScoreTerm& term) {
  const auto& gather = std::get<GatherTerm>(term.term);
  GatherTable table;
  table.offsets = gather.offset.offsets;
  table.padded = line_up(gather.offset.offsets + 16);  // a vector may be read behind the last
  table.shift = gather.offset.offsets - 1 - gather.offset.origin;
  table.runs = code_runs(gather.offset.key_code, args.Nk);
  table.values = Pool::global().allocate(args.H * table.padded);
  for (std::int64_t h = 0; h < args.H; ++h) {
    float* values = table.values.get() + h * table.padded;
    const float* column = gather.table + h * gather.head_stride;
    const float factor = term_factor(term, h);
    for (std::int64_t offset = 0; offset < gather.offset.offsets; ++offset) {
      const std::int64_t index = gather.offset.map != nullptr ? gather.offset.map[offset] : offset;
      values[gather.offset.offsets - 1 - offset] =
          index < 0 ? 0.0f : factor * column[index * gather.row_stride];
    }
    std::fill(values + gather.offset.offsets, values + table.padded, 0.0f);
  }
  return table;
}

/// Puts (first) or adds one row of a gather term to `row`, which has room for nk_pad.
void gather_row(const GatherTable& table, const float* values, bool first, std::int64_t nk_pad, float* row) {
  for (const CodeRun& run : table.runs) {
    const float* from = values + run.code;
    float* to = row + run.slot;
    if (first && run.count <= kRunCopy && run.slot + kRunCopy <= nk_pad) {
      std::memcpy(to, from, kRunCopy * sizeof(float));  // what it writes too much, the next run overwrites
    } else if (first) {
      std::copy_n(from, run.count, to);
    } else {
      for (std::int32_t x = 0; x < run.count; ++x) to[x] += from[x];
    }
  }
}

bool same_for_every_group(const AttentionArgs& args, const ScoreTerm& term) {
  const auto* dense = std::get_if<DenseTerm>(&term.term);
  if (dense == nullptr) return std::holds_alternative<GatherTerm>(term.term);
  return (args.B == 1 || dense->batch_stride == 0) && (args.G == 1 || dense->group_stride == 0);
}

/// The tile must stay small beside q, k and v themselves: memory is then O(N d) whatever the sizes.
bool tile_is_small(const Plan& plan) {
  const AttentionArgs& a = *plan.args;
  const std::int64_t tile = a.Nq * plan.nk_pad;
  return tile <= kMostTile && tile <= a.B * a.G * (a.Nq * a.D + a.Nk * (a.D + a.Dv));
}

void make_tile(Plan& plan) {
  const AttentionArgs& a = *plan.args;
  std::vector<GatherTable> tables(plan.tile_terms.size());
  for (std::size_t t = 0; t < tables.size(); ++t)
    if (std::holds_alternative<GatherTerm>(plan.tile_terms[t]->term))
      tables[t] = gather_table(a, *plan.tile_terms[t]);
  plan.tile = Pool::global().allocate(a.H * a.Nq * plan.nk_pad);
  parallel_for(a.H * a.Nq, ceil_div(16384, plan.nk_pad), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t h = at / a.Nq;
      const std::int64_t i = at % a.Nq;
      float* row = plan.tile.get() + at * plan.nk_pad;
      for (std::size_t t = 0; t < tables.size(); ++t) {
        const ScoreTerm& term = *plan.tile_terms[t];
        if (const auto* dense = std::get_if<DenseTerm>(&term.term)) {
          const float* bias = dense->bias + h * dense->head_stride + i * dense->row_stride;
          const float factor = term_factor(term, h);
          for (std::int64_t j = 0; j < a.Nk; ++j) row[j] = (t == 0 ? 0.0f : row[j]) + factor * bias[j];
        } else {
          const std::int32_t code = std::get<GatherTerm>(term.term).offset.query_code[i];
          gather_row(tables[t], tables[t].values.get() + h * tables[t].padded + tables[t].shift - code,
                     t == 0, plan.nk_pad, row);
        }
      }
      std::fill(row + a.Nk, row + plan.nk_pad, -kInfinity);
    }
  });
}

void prepare_terms(Plan& plan) {
  const AttentionArgs& a = *plan.args;
  const bool small = tile_is_small(plan);
  for (const ScoreTerm& term : a.terms) {
    if (std::holds_alternative<BandTerm>(term.term)) continue;  // plan.bands
    if (small && same_for_every_group(a, term)) {
      plan.tile_terms.push_back(&term);
    } else {
      LooseTerm loose{&term, {}, {}};
      if (std::holds_alternative<GatherTerm>(term.term)) loose.gather = gather_table(a, term);
      prepare_row_term(a, loose);
      plan.loose.push_back(std::move(loose));
    }
  }
  if (!plan.tile_terms.empty() && a.Nq > 0 && a.Nk > 0) make_tile(plan);
}

/// Threads that `flops` of work feed.
int worthwhile_chunks(double flops, std::int64_t items) {
  const double most =
      std::min({flops / kFlopsWorthAThread, static_cast<double>(items), static_cast<double>(num_threads())});
  return std::max(1, static_cast<int>(most));
}

/// Cuts `count` into blocks of at most `block`, itself a multiple of `unit`; all but the last have one size,
/// a multiple of `unit`.
std::int64_t even_block(std::int64_t count, std::int64_t block, std::int64_t unit) {
  const std::int64_t blocks = std::max<std::int64_t>(ceil_div(count, block), 1);
  return std::max(ceil_div(ceil_div(count, blocks), unit) * unit, unit);
}

std::vector<std::uint8_t> mixed_regions(const AttentionArgs& a) {
  if (a.mask.query_region == nullptr || a.Nq == 0 || a.Nk == 0) return {};
  std::vector<std::uint8_t> mixed(static_cast<std::size_t>(a.G));
  for (std::int64_t g = 0; g < a.G; ++g) {
    const std::int32_t* query = a.mask.query_region + g * a.Nq;
    const std::int32_t* key = a.mask.key_region + g * a.Nk;
    const auto differs = [value = *query](std::int32_t region) { return region != value; };
    mixed[static_cast<std::size_t>(g)] =
        std::any_of(query, query + a.Nq, differs) || std::any_of(key, key + a.Nk, differs);
  }
  return mixed;
}

template <class AnyPlan>
AnyPlan common_plan(const AttentionArgs& args, VectorShape shape) {
  AnyPlan plan;
  plan.args = &args;
  plan.shape = shape;
  plan.d_pad = ceil_div(args.D, shape.lanes) * shape.lanes;
  plan.dv_pad = ceil_div(args.Dv, shape.lanes) * shape.lanes;
  plan.nk_pad = ceil_div(args.Nk, shape.lanes) * shape.lanes;
  constexpr std::int64_t kSmallHead = 1 << 16;  // floats: a quarter of the second cache
  plan.prefetch = (args.Nq + args.Nk) * (args.D + args.Dv) <= kSmallHead;
  plan.mixed_regions = mixed_regions(args);
  plan.masks_pairs = args.mask.causal || args.mask.query_box != nullptr || args.mask.dense != nullptr;
  prepare_terms(plan);
  return plan;
}

void reserve_term_scratch(Plan& plan) {
  for (LooseTerm& loose : plan.loose) {
    loose.scratch = plan.term_scratch;
    plan.term_scratch += row_term_scratch(plan, loose);
  }
}

/// True when a loose term has numbers of its own for each query or key.
bool reads_numbers(const Plan& plan) {
  return std::any_of(plan.loose.begin(), plan.loose.end(), [](const LooseTerm& loose) {
    return std::holds_alternative<AxisTerm>(loose.term->term) ||
           std::holds_alternative<BucketTerm>(loose.term->term);
  });
}

/// Arrays have room for blocks of these sizes and no more.
void check_blocks(const Plan& plan) {
  require(plan.query_block <= kMaxQueryBlock && plan.key_block <= kMaxKeyBlock, "attention",
          "blocks of {} queries and {} keys; the kernel has room for {} and {}", plan.query_block,
          plan.key_block, kMaxQueryBlock, kMaxKeyBlock);
}

double flops_of(const AttentionArgs& args) {
  return 2.0 * static_cast<double>(args.B * args.G * args.H) * static_cast<double>(args.Nq) *
         static_cast<double>(args.Nk) * static_cast<double>(args.D + args.Dv);
}

bool rows_repeat(const std::int32_t* rows, std::int64_t count) {
  std::vector<std::int32_t> sorted;
  for (std::int64_t x = 0; x < count; ++x)
    if (rows[x] >= 0) sorted.push_back(rows[x]);
  if (sorted.empty()) return false;
  const auto most = std::int64_t{*std::max_element(sorted.begin(), sorted.end())};
  if (most < 32 * count) {  // a row of flags beats sorting
    std::vector<bool> met(static_cast<std::size_t>(most) + 1);
    for (const std::int32_t row : sorted) {
      if (met[static_cast<std::size_t>(row)]) return true;
      met[static_cast<std::size_t>(row)] = true;
    }
    return false;
  }
  std::sort(sorted.begin(), sorted.end());
  return std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
}

}  // namespace

void Scratch::reserve(float** where, std::int64_t count) {
  parts_.emplace_back(where, total_);
  total_ += line_up(count);
}

void Scratch::allocate() {
  memory_ = Pool::global().allocate(total_);
  for (const auto& [where, offset] : parts_) *where = memory_.get() + offset;
}

Plan plan_forward(const AttentionArgs& args, VectorShape shape) {
  constexpr std::int64_t kFewestQueries = 24;
  auto plan = common_plan<Plan>(args, shape);
  plan.bands = plan_bands(plan, false);
  // Bands of the key side work on six keys by all queries of a tile and a few more, those of grids on slots
  // above each other: the more queries the better.
  std::int64_t most = plan.bands.scores.empty() || plan.masks_pairs ? kMaxQueryBlock / 2 : kMaxQueryBlock;
  // Long heads, but few: smaller tiles, so that every thread gets four.
  while (most > kFewestQueries && plan.units() * ceil_div(args.Nq, most) < 4 * num_threads()) most /= 2;
  plan.query_block = even_block(args.Nq, most, plan.bands.row_unit(most));
  plan.query_blocks = ceil_div(args.Nq, plan.query_block);
  plan.key_block = even_block(args.Nk, kMaxKeyBlock, shape.panel());
  plan.key_blocks = ceil_div(args.Nk, plan.key_block);
  reserve_term_scratch(plan);
  plan.chunks = worthwhile_chunks(flops_of(args), plan.units() * plan.query_blocks);
  place_bands(plan, plan.bands);
  check_blocks(plan);
  return plan;
}

BackwardPlan plan_backward(const AttentionGradArgs& grads, VectorShape shape) {
  const AttentionArgs& args = grads.forward;
  auto plan = common_plan<BackwardPlan>(args, shape);
  plan.grads = &grads;
  plan.bands = plan_bands(plan, true);
  const std::int64_t queries = plan.bands.has_key_side() ? kMaxQueryBlock : kMaxQueryBlock / 2;
  plan.query_block = even_block(args.Nq, queries, plan.bands.row_unit(queries));
  plan.query_blocks = ceil_div(args.Nq, plan.query_block);
  // Each block of keys reads every query's numbers and adds to their gradients: the fewer blocks the better.
  // Of pairs that are masked small blocks leave out more.
  std::int64_t most = !plan.masks_pairs && reads_numbers(plan) ? kMaxKeyBlock : kMaxKeyBlock / 4;
  while (most > shape.panel() && plan.units() * ceil_div(args.Nk, most) < 4 * num_threads()) most /= 2;
  plan.key_block = even_block(args.Nk, std::max(most, shape.panel()), shape.panel());
  // A head without keys still has gradients to clear.
  plan.key_blocks = std::max<std::int64_t>(ceil_div(args.Nk, plan.key_block), 1);
  reserve_term_scratch(plan);
  plan.shared_keys = args.key_rows != nullptr && rows_repeat(args.key_rows, args.G * args.Nk);
  plan.chunks = worthwhile_chunks(2.5 * flops_of(args), plan.shared_keys ? args.B * args.H : plan.items());
  place_bands(plan, plan.bands);
  for (const ScoreTerm* term : plan.tile_terms) {
    const auto* gather = std::get_if<GatherTerm>(&term->term);
    const float* wanted = gather != nullptr ? gather->dtable : std::get<DenseTerm>(term->term).dbias;
    plan.wants_dtile = plan.wants_dtile || wanted != nullptr || term->dhead_scale != nullptr;
  }
  plan.chunk_grads.resize(static_cast<std::size_t>(plan.chunks));
  check_blocks(plan);
  return plan;
}

}  // namespace locant::fused
