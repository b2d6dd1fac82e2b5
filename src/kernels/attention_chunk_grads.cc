#include <algorithm>
#include <utility>

#include "core/parallel.h"
#include "core/pool.h"
#include "kernels/attention_plan.h"

namespace locant::fused {
namespace {

float head_scale(const ScoreTerm& term, std::int64_t h) {
  return term.head_scale != nullptr ? term.head_scale[h] : 1.0f;
}

/// True when two heads of the call add to the same number of a dense gradient.
bool dense_is_shared(const AttentionArgs& a, const DenseTerm& dense) {
  return (a.B > 1 && dense.batch_stride == 0) || (a.G > 1 && dense.group_stride == 0) ||
         (a.H > 1 && dense.head_stride == 0);
}

/// A private dense gradient keeps the axes that the caller's has, close together.
LooseGrad dense_private(const AttentionArgs& a, const DenseTerm& dense) {
  LooseGrad grad;
  std::int64_t size = a.Nk;
  const auto axis = [&size](std::int64_t extent, std::int64_t stride) {
    const std::int64_t own = stride == 0 || extent == 1 ? 0 : size;
    if (own != 0) size *= extent;
    return own;
  };
  grad.row_stride = axis(a.Nq, dense.row_stride);
  grad.head_stride = axis(a.H, dense.head_stride);
  grad.group_stride = axis(a.G, dense.group_stride);
  grad.batch_stride = axis(a.B, dense.batch_stride);
  return grad;
}

std::int64_t dense_private_size(const AttentionArgs& a, const LooseGrad& grad) {
  return (grad.batch_stride != 0 ? a.B - 1 : 0) * grad.batch_stride +
         (grad.group_stride != 0 ? a.G - 1 : 0) * grad.group_stride +
         (grad.head_stride != 0 ? a.H - 1 : 0) * grad.head_stride +
         (grad.row_stride != 0 ? a.Nq - 1 : 0) * grad.row_stride + a.Nk;
}

/// True when the chunk of `item`'s head [first, first + key_blocks) works on all of it.
bool whole_unit(const BackwardPlan& plan, std::int64_t chunk, std::int64_t item) {
  const std::int64_t first = item / plan.key_blocks * plan.key_blocks;
  return first >= plan.chunk_begin(chunk) && first + plan.key_blocks <= plan.chunk_begin(chunk + 1);
}

void reduce_dense(const BackwardPlan& plan, const DenseTerm& dense, std::size_t t) {
  const AttentionArgs& a = *plan.args;
  // The first chunk wrote to the caller's buffer; each other one is added, whole rows of it, once per
  // distinct row.
  const auto extent = [](std::int64_t count, std::int64_t stride) { return stride != 0 ? count : 1; };
  for (std::size_t chunk = 1; chunk < plan.chunk_grads.size(); ++chunk) {
    const LooseGrad& grad = plan.chunk_grads[chunk].loose[t];
    if (grad.data == nullptr || grad.data == dense.dbias) continue;
    const std::int64_t B = extent(a.B, grad.batch_stride), G = extent(a.G, grad.group_stride);
    const std::int64_t H = extent(a.H, grad.head_stride), rows = extent(a.Nq, grad.row_stride);
    for (std::int64_t x = 0; x < B * G * H * rows; ++x) {
      const std::int64_t i = x % rows, h = x / rows % H, g = x / (rows * H) % G, b = x / (rows * H * G);
      const float* from = grad.data + b * grad.batch_stride + g * grad.group_stride + h * grad.head_stride +
                          i * grad.row_stride;
      float* to = dense.dbias + b * dense.batch_stride + g * dense.group_stride + h * dense.head_stride +
                  i * dense.row_stride;
      for (std::int64_t j = 0; j < a.Nk; ++j) to[j] += from[j];
    }
  }
}

/// dtable[map[offset]] += head_scale * values[offsets - 1 - offset], and dhead_scale += sum values * table.
void scatter_offsets(const ScoreTerm& term, std::int64_t h, const float* values) {
  const auto& gather = std::get<GatherTerm>(term.term);
  float* column = gather.dtable != nullptr ? gather.dtable + h * gather.head_stride : nullptr;
  const float* table = gather.table + h * gather.head_stride;
  const float scale = head_scale(term, h);
  double dscale = 0.0;
  for (std::int64_t offset = 0; offset < gather.offset.offsets; ++offset) {
    const std::int64_t index = gather.offset.map != nullptr ? gather.offset.map[offset] : offset;
    if (index < 0) continue;
    const float value = values[gather.offset.offsets - 1 - offset];
    if (column != nullptr) column[index * gather.row_stride] += scale * value;
    dscale += static_cast<double>(value) * table[index * gather.row_stride];
  }
  if (term.dhead_scale != nullptr) term.dhead_scale[h] += static_cast<float>(dscale);
}

/// Heads in parallel where each has numbers of its own.
void for_heads(std::int64_t H, bool shared, const std::function<void(std::int64_t)>& body) {
  parallel_for(H, shared ? H : 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t h = begin; h < end; ++h) body(h);
  });
}

void reduce_gather(const BackwardPlan& plan, const LooseTerm& loose, std::size_t t) {
  const auto& gather = std::get<GatherTerm>(loose.term->term);
  if (gather.dtable == nullptr && loose.term->dhead_scale == nullptr) return;
  for_heads(plan.args->H, gather.head_stride == 0, [&](std::int64_t h) {
    std::vector<float> sum(static_cast<std::size_t>(loose.gather.offsets), 0.0f);
    for (const ChunkGrads& grads : plan.chunk_grads) {
      const float* part = grads.loose[t].data + h * loose.gather.padded;
      for (std::size_t x = 0; x < sum.size(); ++x) sum[x] += part[x];
    }
    scatter_offsets(*loose.term, h, sum.data());
  });
}

void reduce_tile_term(const BackwardPlan& plan, const ScoreTerm& term, std::int64_t h, const float* dtile) {
  const AttentionArgs& a = *plan.args;
  if (const auto* dense = std::get_if<DenseTerm>(&term.term)) {
    const float scale = head_scale(term, h);
    double dscale = 0.0;
    for (std::int64_t i = 0; i < a.Nq; ++i) {
      const std::int64_t at = h * dense->head_stride + i * dense->row_stride;
      for (std::int64_t j = 0; dense->dbias != nullptr && j < a.Nk; ++j)
        dense->dbias[at + j] += scale * dtile[i * plan.nk_pad + j];
      for (std::int64_t j = 0; term.dhead_scale != nullptr && j < a.Nk; ++j)
        dscale += static_cast<double>(dtile[i * plan.nk_pad + j]) * dense->bias[at + j];
    }
    if (term.dhead_scale != nullptr) term.dhead_scale[h] += static_cast<float>(dscale);
    return;
  }
  const auto& gather = std::get<GatherTerm>(term.term);
  std::vector<float> values(static_cast<std::size_t>(gather.offset.offsets),
                            0.0f);  // in the order of key codes
  for (std::int64_t i = 0; i < a.Nq; ++i) {
    const std::int64_t base = gather.offset.offsets - 1 - gather.offset.origin - gather.offset.query_code[i];
    for (std::int64_t j = 0; j < a.Nk; ++j)
      values[static_cast<std::size_t>(base + gather.offset.key_code[j])] += dtile[i * plan.nk_pad + j];
  }
  scatter_offsets(term, h, values.data());
}

void reduce_tile(const BackwardPlan& plan) {
  const AttentionArgs& a = *plan.args;
  const std::int64_t size = a.Nq * plan.nk_pad;
  bool shared = false;
  for (const ScoreTerm* term : plan.tile_terms) {
    const auto* gather = std::get_if<GatherTerm>(&term->term);
    shared = shared ||
             (gather != nullptr ? gather->head_stride : std::get<DenseTerm>(term->term).head_stride) == 0;
  }
  for_heads(a.H, shared, [&](std::int64_t h) {
    float* sum = plan.chunk_grads[0].dtile + h * size;
    for (std::size_t chunk = 1; chunk < plan.chunk_grads.size(); ++chunk) {
      const float* part = plan.chunk_grads[chunk].dtile + h * size;
      for (std::int64_t x = 0; x < size; ++x) sum[x] += part[x];
    }
    for (const ScoreTerm* term : plan.tile_terms) {
      const auto* gather = std::get_if<GatherTerm>(&term->term);
      const bool wanted =
          (gather != nullptr ? gather->dtable : std::get<DenseTerm>(term->term).dbias) != nullptr;
      if (wanted || term->dhead_scale != nullptr) reduce_tile_term(plan, *term, h, sum);
    }
  });
}

void reduce_pads(const BackwardPlan& plan) {
  const AttentionArgs& a = *plan.args;
  for (const ChunkGrads& grads : plan.chunk_grads) {
    if (grads.dkey_pad != nullptr)
      for (std::int64_t x = 0; x < a.H * a.D; ++x) plan.grads->dkey_pad[x] += grads.dkey_pad[x];
    if (grads.dvalue_pad != nullptr)
      for (std::int64_t x = 0; x < a.H * a.Dv; ++x) plan.grads->dvalue_pad[x] += grads.dvalue_pad[x];
  }
}

/// dq of the heads that several chunks worked on: their parts, in the order of chunks, times the scale.
void reduce_queries(const BackwardPlan& plan) {
  const AttentionArgs& a = *plan.args;
  struct Shared {
    std::int64_t unit;
    std::vector<const float*> parts;
  };
  std::vector<Shared> heads;
  for (const ChunkGrads& grads : plan.chunk_grads)
    for (std::size_t slot = 0; slot < 2; ++slot) {
      if (grads.dq[slot] == nullptr) continue;
      if (heads.empty() || heads.back().unit != grads.dq_unit[slot])
        heads.push_back({grads.dq_unit[slot], {}});
      heads.back().parts.push_back(grads.dq[slot]);
    }
  const auto count = static_cast<std::int64_t>(heads.size());
  parallel_for(count * a.Nq, ceil_div(16384, plan.d_pad), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t x = begin; x < end; ++x) {
      const Shared& head = heads[static_cast<std::size_t>(x / a.Nq)];
      const std::int64_t i = x % a.Nq, b = head.unit / (a.G * a.H), g = head.unit / a.H % a.G,
                         h = head.unit % a.H;
      const std::int64_t row = a.query_rows != nullptr ? a.query_rows[g * a.Nq + i] : g * a.Nq + i;
      if (row < 0) continue;
      const AttentionMutableView& dq = plan.grads->dq;
      float* to = dq.data + b * dq.batch_stride + row * dq.row_stride + h * dq.head_stride;
      for (std::int64_t d = 0; d < a.D; ++d) {
        float sum = head.parts[0][i * plan.d_pad + d];
        for (std::size_t p = 1; p < head.parts.size(); ++p) sum += head.parts[p][i * plan.d_pad + d];
        to[d] = a.scale * sum;
      }
    }
  });
}

}  // namespace

std::int64_t BackwardPlan::unit_of(std::int64_t item) const {
  const std::int64_t head = item / key_blocks;
  if (!shared_keys) return head;
  const std::int64_t g = head % args->G, h = head / args->G % args->H, b = head / (args->G * args->H);
  return (b * args->G + g) * args->H + h;
}

void start_chunk(BackwardPlan& plan, std::int64_t chunk) {
  const AttentionArgs& a = *plan.args;
  ChunkGrads& grads = plan.chunk_grads[static_cast<std::size_t>(chunk)];
  std::int64_t total = 0;
  std::vector<std::pair<float**, std::int64_t>> parts;
  const auto reserve = [&](float** where, std::int64_t count) {
    parts.emplace_back(where, total);
    total += line_up(count);
  };
  const std::int64_t begin = plan.chunk_begin(chunk), end = plan.chunk_begin(chunk + 1);
  std::array<bool, 2> split = {};
  if (begin < end && !plan.shared_keys) {
    const std::int64_t first = begin / plan.key_blocks, last = (end - 1) / plan.key_blocks;
    grads.dq_unit = {first, last};
    split = {!whole_unit(plan, chunk, begin), last != first && !whole_unit(plan, chunk, end - 1)};
  }
  if (plan.wants_dtile) reserve(&grads.dtile, a.H * a.Nq * plan.nk_pad);
  for (std::size_t t = 0; t < plan.loose.size(); ++t) {
    LooseGrad& grad = grads.loose[t];
    start_row_grads(plan, t, split, reserve, grads);
    if (const auto* dense = std::get_if<DenseTerm>(&plan.loose[t].term->term)) {
      if (dense->dbias == nullptr) continue;
      grad = {dense->dbias, dense->batch_stride, dense->group_stride, dense->head_stride, dense->row_stride};
      if (chunk > 0 && dense_is_shared(a, *dense)) {
        grad = dense_private(a, *dense);
        reserve(&grad.data, dense_private_size(a, grad));
      }
    } else if (const auto* gather = std::get_if<GatherTerm>(&plan.loose[t].term->term)) {
      if (gather->dtable == nullptr && plan.loose[t].term->dhead_scale == nullptr) continue;
      grad.head_stride = plan.loose[t].gather.padded;
      reserve(&grad.data, a.H * plan.loose[t].gather.padded);
    }
  }
  if (plan.grads->dkey_pad != nullptr) reserve(&grads.dkey_pad, a.H * a.D);
  if (plan.grads->dvalue_pad != nullptr) reserve(&grads.dvalue_pad, a.H * a.Dv);
  reserve_band_grads(plan, chunk, grads.bands, reserve);
  for (std::size_t slot = 0; slot < 2; ++slot)
    if (split[slot]) reserve(&grads.dq[slot], a.Nq * plan.d_pad);
  grads.memory = Pool::global().allocate(total);
  std::fill_n(grads.memory.get(), total, 0.0f);
  for (const auto& [where, offset] : parts) *where = grads.memory.get() + offset;
}

void reduce_chunks(BackwardPlan& plan) {
  if (plan.wants_dtile) reduce_tile(plan);
  for (std::size_t t = 0; t < plan.loose.size(); ++t) {
    if (const auto* dense = std::get_if<DenseTerm>(&plan.loose[t].term->term)) {
      reduce_dense(plan, *dense, t);
    } else if (std::holds_alternative<GatherTerm>(plan.loose[t].term->term)) {
      reduce_gather(plan, plan.loose[t], t);
    } else {
      reduce_row_grads(plan, t);
    }
    reduce_head_scale(plan, t);
  }
  reduce_bands(plan);
  reduce_pads(plan);
  reduce_queries(plan);
}

}  // namespace locant::fused
