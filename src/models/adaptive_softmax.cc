#include "models/adaptive_softmax.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "ops/softmax.h"

namespace locant {
namespace {

/// Rows [begin, end) of a table; without a tape no copy of them.
Var rows_of(const Context& ctx, const Var& table, std::int64_t begin, std::int64_t end) {
  if (begin == 0 && end == table.dim(0)) return table;
  if (ctx.tape == nullptr) return Var(table.value().slice(begin, end));
  return slice_axis(ctx, table, 0, begin, end);
}

/// Tokens of each cluster among `ids`.
std::vector<std::vector<std::int32_t>> members(const AdaptiveVocabulary& c,
                                               const std::vector<std::int32_t>& ids) {
  std::vector<std::vector<std::int32_t>> out(c.clusters());
  for (std::size_t at = 0; at < ids.size(); ++at) {
    const auto cluster = std::upper_bound(c.cutoffs.begin(), c.cutoffs.end(), ids[at]) - c.cutoffs.begin();
    out[static_cast<std::size_t>(cluster)].push_back(static_cast<std::int32_t>(at));
  }
  return out;
}

/// Parts (n_i, ...) put at the places `where[i]` of T rows.
Var in_places(const Context& ctx, const std::vector<Var>& parts,
              const std::vector<std::vector<std::int32_t>>& where, std::size_t T) {
  std::vector<std::int32_t> row(T);
  std::int32_t next = 0;
  for (const auto& places : where)
    for (const std::int32_t place : places) row[static_cast<std::size_t>(place)] = next++;
  return gather_rows(ctx, parts.size() == 1 ? parts[0] : concat_axis(ctx, parts, 0), row);
}

/// x[t, columns[t]] of x (T, n): (T, 1).
Var pick(const Context& ctx, const Var& x, const std::vector<std::int32_t>& columns) {
  const std::int64_t T = x.dim(0), n = x.dim(1);
  require(T * n < (std::int64_t{1} << 31), "adaptive_softmax", "{} tokens of {} choices at once; take fewer",
          T, n);
  std::vector<std::int32_t> places;
  for (std::size_t t = 0; t < columns.size(); ++t)
    places.push_back(static_cast<std::int32_t>(static_cast<std::int64_t>(t) * n) + columns[t]);
  return gather_rows(ctx, reshape(ctx, x, {T * n, 1}), places);
}

}  // namespace

std::int64_t AdaptiveVocabulary::width(std::size_t cluster) const {
  std::int64_t out = embed_dim;
  for (std::size_t i = 0; i < cluster; ++i) out /= div_val;
  return out;
}

AdaptiveEmbedding::AdaptiveEmbedding(const Weights& w, const AdaptiveVocabulary& c) : c_(c) {
  for (std::size_t i = 0; i < (c.one_table() ? 1 : c.clusters()); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    const std::int64_t rows = c.one_table() ? c.vocab_size : c.begin(i + 1) - c.begin(i);
    tables_.push_back((w / "emb_layers" / index).get("weight", {rows, c.width(i)}, Init::normal(0.02f)));
    if (c.projects())
      projections_.push_back(
          (w / "emb_projs").get(std::to_string(i), {c.dim, c.width(i)}, Init::normal(0.01f)));
  }
}

Var AdaptiveEmbedding::operator()(const Context& ctx, const std::vector<std::int32_t>& ids) const {
  const float scale = std::sqrt(static_cast<float>(c_.dim));
  if (c_.one_table()) {
    const Var x = gather_rows(ctx, tables_[0], ids);
    return affine(ctx, projections_.empty() ? x : linear(ctx, x, projections_[0], Var()), scale);
  }
  const std::vector<std::vector<std::int32_t>> where = members(c_, ids);
  std::vector<Var> parts;
  for (std::size_t i = 0; i < where.size(); ++i) {
    if (where[i].empty()) continue;
    std::vector<std::int32_t> rows;
    for (const std::int32_t at : where[i])
      rows.push_back(ids[static_cast<std::size_t>(at)] - static_cast<std::int32_t>(c_.begin(i)));
    parts.push_back(linear(ctx, gather_rows(ctx, tables_[i], rows), projections_[i], Var()));
  }
  return affine(ctx, in_places(ctx, parts, where, ids.size()), scale);
}

Var AdaptiveEmbedding::table(const Context& ctx, std::size_t cluster) const {
  return c_.one_table() ? rows_of(ctx, tables_[0], c_.begin(cluster), c_.begin(cluster + 1))
                        : tables_[cluster];
}

AdaptiveSoftmax::AdaptiveSoftmax(const Weights& w, const AdaptiveVocabulary& c,
                                 std::shared_ptr<const AdaptiveEmbedding> embedding, bool computes)
    : c_(c), embedding_(std::move(embedding)) {
  for (std::size_t i = 0; i < (c.one_table() ? 1 : c.clusters()); ++i) {
    const Weights layer = w / "out_layers" / static_cast<std::int64_t>(i);
    const std::int64_t rows = c.one_table() ? c.vocab_size : c.begin(i + 1) - c.begin(i);
    if (computes && !c.tie_weight)
      tables_.push_back(layer.get("weight", {rows, c.width(i)}, Init::normal(0.02f)));
    biases_.push_back(layer.get("bias", {rows}, Init::zeros()));
  }
  if (!computes) return;
  const auto n = static_cast<std::int64_t>(c.cutoffs.size());
  if (n > 0) {
    cluster_weight_ = w.get("cluster_weight", {n, c.embed_dim}, Init::normal(0.02f));
    cluster_bias_ = w.get("cluster_bias", {n}, Init::zeros());
  }
  for (std::size_t i = 0; i < c.clusters() && c.projects(); ++i)
    projections_.push_back(
        c.tie_projs && i > 0
            ? embedding_->projection(i)
            : (w / "out_projs").get(std::to_string(i), {c.dim, c.width(i)}, Init::normal(0.01f)));
}

Var AdaptiveSoftmax::log_probs(const Context& ctx, const Var& x) const {
  const Var head = heads(ctx, x);
  if (c_.clusters() == 1) return head;
  std::vector<Var> parts = {slice_axis(ctx, head, 1, 0, c_.cutoffs[0])};
  for (std::size_t i = 1; i < c_.clusters(); ++i)
    parts.push_back(add_broadcast(ctx, tail(ctx, x, i), slice_axis(ctx, head, 1, column(i), column(i) + 1)));
  return concat_axis(ctx, parts, 1);
}

Var AdaptiveSoftmax::nll(const Context& ctx, const Var& x, const std::vector<std::int32_t>& next) const {
  const std::vector<std::vector<std::int32_t>> where = members(c_, next);
  const Var head = heads(ctx, x);
  std::vector<Var> parts;
  for (std::size_t i = 0; i < where.size(); ++i) {
    if (where[i].empty()) continue;
    std::vector<std::int32_t> inside, outside;
    for (const std::int32_t at : where[i]) {
      inside.push_back(next[static_cast<std::size_t>(at)] - static_cast<std::int32_t>(c_.begin(i)));
      outside.push_back(static_cast<std::int32_t>(column(i)));
    }
    const Var rows = gather_rows(ctx, head, where[i]);
    if (i == 0) {
      parts.push_back(pick(ctx, rows, inside));
    } else {
      const Var within = pick(ctx, tail(ctx, gather_rows(ctx, x, where[i]), i), inside);
      parts.push_back(add(ctx, pick(ctx, rows, outside), within));
    }
  }
  const auto T = static_cast<std::int64_t>(next.size());
  return affine(ctx, reshape(ctx, in_places(ctx, parts, where, next.size()), {T}), -1.0f);
}

Var AdaptiveSoftmax::heads(const Context& ctx, const Var& x) const {
  const Var y = projected(ctx, x, 0);
  const Var words = linear(ctx, y, table(ctx, 0), bias(ctx, 0));
  if (c_.clusters() == 1) return log_softmax(ctx, words);
  return log_softmax(ctx, concat_axis(ctx, {words, linear(ctx, y, cluster_weight_, cluster_bias_)}, 1));
}

Var AdaptiveSoftmax::tail(const Context& ctx, const Var& x, std::size_t cluster) const {
  return log_softmax(ctx, linear(ctx, projected(ctx, x, cluster), table(ctx, cluster), bias(ctx, cluster)));
}

Var AdaptiveSoftmax::projected(const Context& ctx, const Var& x, std::size_t cluster) const {
  return projections_.empty() ? x : product(ctx, x, projections_[cluster]);
}

Var AdaptiveSoftmax::table(const Context& ctx, std::size_t cluster) const {
  if (tables_.empty()) return embedding_->table(ctx, cluster);
  return c_.one_table() ? rows_of(ctx, tables_[0], c_.begin(cluster), c_.begin(cluster + 1))
                        : tables_[cluster];
}

Var AdaptiveSoftmax::bias(const Context& ctx, std::size_t cluster) const {
  return c_.one_table() ? rows_of(ctx, biases_[0], c_.begin(cluster), c_.begin(cluster + 1))
                        : biases_[cluster];
}

std::int64_t AdaptiveSoftmax::column(std::size_t cluster) const {
  if (cluster == 0) return 0;
  const bool rising = c_.cluster_order == AdaptiveVocabulary::ClusterOrder::rising;
  return c_.cutoffs[0] + static_cast<std::int64_t>(rising ? cluster - 1 : c_.clusters() - 1 - cluster);
}

}  // namespace locant
