#include <algorithm>

#include "core/parallel.h"
#include "kernels/attention_plan.h"

namespace locant::fused {
namespace {

/// A table whose rows belong to token rows, and its gradient.
struct RowTable {
  float* dtable = nullptr;
  std::int64_t batch_stride = 0, row_stride = 0, head_stride = 0, width = 0;
  Side side = Side::query;
};

RowTable row_table(const ScoreTerm& term, std::size_t which) {
  if (const auto* bucket = std::get_if<BucketTerm>(&term.term)) {
    if (which > 0) return {};
    return {bucket->dtable,      bucket->batch_stride,      bucket->row_stride,
            bucket->head_stride, bucket->offset.table_rows, bucket->side};
  }
  if (const auto* axis = std::get_if<AxisTerm>(&term.term))
    return {axis->tables[which] != nullptr ? axis->dtables[which] : nullptr,
            axis->batch_stride[which],
            axis->row_stride[which],
            axis->head_stride[which],
            axis->extents[which],
            Side::query};
  return {};
}

std::int64_t slots_of(const AttentionArgs& a, const RowTable& table) {
  return a.G * (table.side == Side::query ? a.Nq : a.Nk);
}

/// Token row of slot `slot` of all groups' slots; negative: a padding slot.
std::int64_t token_row(const AttentionArgs& a, const RowTable& table, std::int64_t slot) {
  const std::int32_t* rows = table.side == Side::query ? a.query_rows : a.key_rows;
  return rows != nullptr ? rows[slot] : slot;
}

/// True when heads that different chunks may work on add to the same number.
bool is_shared(const AttentionArgs& a, const RowTable& table) {
  return (a.B > 1 && table.batch_stride == 0) || (a.H > 1 && table.head_stride == 0) ||
         (slots_of(a, table) > 1 && table.row_stride == 0);
}

/// A private gradient keeps the axes that the caller's has, close together. Returns its size.
std::int64_t make_private(const AttentionArgs& a, const RowTable& table, RowGrad& grad) {
  std::int64_t size = table.width;
  const auto axis = [&size](std::int64_t extent, std::int64_t stride) {
    const std::int64_t own = stride == 0 || extent == 1 ? 0 : size;
    if (own != 0) size *= extent;
    return own;
  };
  grad.by_slot = true;
  grad.row_stride = axis(slots_of(a, table), table.row_stride);
  grad.head_stride = axis(a.H, table.head_stride);
  grad.batch_stride = axis(a.B, table.batch_stride);
  return size;
}

/// A private gradient goes to the caller's, each of its rows once.
void add_private(const AttentionArgs& a, const RowTable& table, const RowGrad& grad) {
  const std::int64_t B = grad.batch_stride != 0 ? a.B : 1, H = grad.head_stride != 0 ? a.H : 1;
  const std::int64_t slots = grad.row_stride != 0 ? slots_of(a, table) : 1;
  for (std::int64_t x = 0; x < B * H * slots; ++x) {
    const std::int64_t slot = x % slots, h = x / slots % H, b = x / (slots * H);
    // A single slot needs no stride, and its row may be any.
    const std::int64_t row = table.row_stride != 0 ? token_row(a, table, slot) : 0;
    if (row < 0) continue;
    const float* from = grad.data + b * grad.batch_stride + slot * grad.row_stride + h * grad.head_stride;
    float* to = table.dtable + b * table.batch_stride + row * table.row_stride + h * table.head_stride;
    for (std::int64_t c = 0; c < table.width; ++c) to[c] += from[c];
  }
}

/// The part of a head that several chunks worked on.
void add_part(const AttentionArgs& a, const RowTable& table, std::int64_t unit, const float* part) {
  const std::int64_t b = unit / (a.G * a.H), g = unit / a.H % a.G, h = unit % a.H;
  const std::int64_t grain = std::max<std::int64_t>(16384 / table.width, 1);
  parallel_for(a.Nq, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = token_row(a, table, g * a.Nq + i);
      if (row < 0) continue;
      float* to = table.dtable + b * table.batch_stride + row * table.row_stride + h * table.head_stride;
      for (std::int64_t c = 0; c < table.width; ++c) to[c] += part[i * table.width + c];
    }
  });
}

}  // namespace

void prepare_row_term(const AttentionArgs& args, LooseTerm& loose) {
  const auto* bucket = std::get_if<BucketTerm>(&loose.term->term);
  if (bucket == nullptr) return;
  constexpr std::size_t kOverrun = 16;
  const OffsetView& map = bucket->offset;
  const bool query = bucket->side == Side::query;
  BucketTable& table = loose.bucket;
  table.width = map.table_rows;
  table.shift = query ? map.offsets - 1 - map.origin : map.origin;
  table.runs = query ? code_runs(map.key_code, args.Nk) : code_runs(map.query_code, args.Nq);
  table.indices.assign(static_cast<std::size_t>(map.offsets) + kOverrun, 0);
  for (std::int64_t offset = 0; offset < map.offsets; ++offset) {
    const std::int64_t index = map.map != nullptr ? map.map[offset] : offset;
    table.indices[static_cast<std::size_t>(query ? map.offsets - 1 - offset : offset)] =
        static_cast<std::int32_t>(index < 0 ? table.width : index);
  }
}

std::int64_t row_term_scratch(const Plan& plan, const LooseTerm& loose) {
  if (const auto* axis = std::get_if<AxisTerm>(&loose.term->term))
    return plan.query_block * axis_scratch(axis->extents[2], axis->extents[0] * axis->extents[1]);
  const auto* bucket = std::get_if<BucketTerm>(&loose.term->term);
  if (bucket == nullptr) return 0;
  constexpr std::int64_t kSums = 4, kStrip = 16;  // copies of a row of sums; keys side by side
  const std::int64_t padded = loose.bucket.padded();
  return bucket->side == Side::query ? std::max(plan.query_block, kSums) * padded
                                     : kSums * padded + kStrip * bucket_strip_row(plan.query_block);
}

void start_row_grads(const BackwardPlan& plan, std::size_t t, std::array<bool, 2> split,
                     const Reserve& reserve, ChunkGrads& grads) {
  const AttentionArgs& a = *plan.args;
  const ScoreTerm& term = *plan.loose[t].term;
  if (term.dhead_scale != nullptr && !std::holds_alternative<GatherTerm>(term.term))
    reserve(&grads.dhead_scale[t], a.H);
  for (std::size_t which = 0; which < 3; ++which) {
    const RowTable table = row_table(term, which);
    if (table.dtable == nullptr) continue;
    RowGrad& grad = grads.rows[t][which];
    grad.width = table.width;
    if (is_shared(a, table)) {
      reserve(&grad.data, make_private(a, table, grad));
      continue;
    }
    grad.data = table.dtable;
    grad.batch_stride = table.batch_stride;
    grad.row_stride = table.row_stride;
    grad.head_stride = table.head_stride;
    for (std::size_t slot = 0; slot < 2; ++slot)
      if (split[slot] && table.side == Side::query) reserve(&grad.parts[slot], a.Nq * table.width);
  }
}

void reduce_row_grads(const BackwardPlan& plan, std::size_t t) {
  for (std::size_t which = 0; which < 3; ++which) {
    const RowTable table = row_table(*plan.loose[t].term, which);
    if (table.dtable == nullptr) continue;
    for (const ChunkGrads& grads : plan.chunk_grads) {
      const RowGrad& grad = grads.rows[t][which];
      if (grad.by_slot) add_private(*plan.args, table, grad);
      for (std::size_t slot = 0; slot < 2; ++slot)
        if (grad.parts[slot] != nullptr) add_part(*plan.args, table, grads.dq_unit[slot], grad.parts[slot]);
    }
  }
}

void reduce_head_scale(const BackwardPlan& plan, std::size_t t) {
  float* dhead_scale = plan.loose[t].term->dhead_scale;
  for (const ChunkGrads& grads : plan.chunk_grads)
    for (std::int64_t h = 0; grads.dhead_scale[t] != nullptr && h < plan.args->H; ++h)
      dhead_scale[h] += grads.dhead_scale[t][h];
}

}  // namespace locant::fused
