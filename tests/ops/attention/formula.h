#pragma once

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "core/rng.h"
#include "kernels/attention_dropout.h"
#include "ops/attention/attention.h"
#include "simd/isa.h"
#include "tests/ops/op_check.h"

namespace locant::testing {

/// Those Vars of the options that are there, in the order in which the formula takes their numbers.
template <class Options, class Visit>
void each_var(Options& o, const Visit& visit) {
  for (auto& t : o.terms)
    for (auto* var : t.vars())
      if (var->defined()) visit(*var);
  if (o.factor) visit(std::get<AttentionTerm::Gather>(o.factor->kind).table);
  for (auto* var : {&o.value_term.vectors, &o.pad_bias})
    if (var->defined()) visit(*var);
}

/// A Var that stands for numbers of this shape in AttentionCall::options.
inline Var table(const Shape& shape) { return Var(Tensor::zeros(shape)); }

enum class Path { fused, composed };

/// An attention call of any kind. Vars in `options` tell shapes only; their numbers are inputs.
struct AttentionCall {
  std::int64_t B = 1, Nq = 1, Nk = 1, H = 1, D = 1, Dv = 1;  ///< tokens, not slots
  AttentionOptions options = {};
  bool joint = false;          ///< inputs are qkv, not q, k, v; Nq = Nk, D = Dv
  std::uint64_t rng_seed = 0;  ///< not 0: training, with this generator

  std::int64_t groups() const { return options.rows != nullptr ? options.rows->groups : 1; }
  std::int64_t queries() const { return options.rows != nullptr ? options.rows->queries : Nq; }
  std::int64_t keys() const { return options.rows != nullptr ? options.rows->keys : Nk; }

  std::vector<Tensor> inputs(float scale = 1.0f) const {
    std::vector<Tensor> out;
    if (joint)
      out = {random_tensor({B, Nq, 3 * H * D}, 1, scale)};
    else
      out = {random_tensor({B, Nq, H * D}, 1, scale), random_tensor({B, Nk, H * D}, 2, scale),
             random_tensor({B, Nk, H * Dv}, 3, scale)};
    each_var(options, [&](const Var& v) { out.push_back(random_tensor(v.shape(), out.size() + 13)); });
    return out;
  }

  Var run(const Context& ctx, const std::vector<Var>& leaves, Path path) const {
    AttentionOptions o = options;
    o.heads = H;
    std::size_t next = joint ? 1 : 3;
    each_var(o, [&](Var& v) { v = leaves[next++]; });
    Rng rng(rng_seed);
    Context with = ctx;
    with.train = rng_seed != 0;
    with.rng = &rng;
    const bool fused = path == Path::fused;
    if (joint) return fused ? attention(with, leaves[0], o) : attention_composed(with, leaves[0], o);
    return fused ? attention(with, leaves[0], leaves[1], leaves[2], o)
                 : attention_composed(with, leaves[0], leaves[1], leaves[2], o);
  }

  std::uint64_t dropout_seed() const { return Rng(rng_seed).next(); }
};

/// The call by its formula, pair by pair: softmax attention with every term, mask and value term.
template <class T>
class AttentionFormula {
 public:
  AttentionFormula(const AttentionCall& call, const Values<T>& in) : c_(call), o_(call.options), in_(in) {
    std::size_t next = call.joint ? 1 : 3;
    const auto take = [&](const Var& var) { return var.defined() ? &in[next++] : nullptr; };
    for (const AttentionTerm& t : o_.terms) {
      std::vector<const std::vector<T>*> all;
      for (const Var* var : t.vars()) all.push_back(take(*var));
      Numbers n;
      n.head_scale = all.back();
      n.table = all[0];
      if (all.size() == 4) std::copy_n(all.begin(), 3, n.axes.begin());
      terms_.push_back(n);
    }
    if (o_.factor) factor_ = take(factor().table);
    vectors_ = take(o_.value_term.vectors);
    pad_ = take(o_.pad_bias);
    scale_ = o_.scale ? static_cast<double>(*o_.scale) : 1 / std::sqrt(static_cast<double>(c_.D));
  }

  std::vector<T> operator()() const {
    std::vector<T> out(static_cast<std::size_t>(c_.B * c_.Nq * c_.H * c_.Dv));
    for (std::int64_t b = 0; b < c_.B; ++b)
      for (std::int64_t g = 0; g < c_.groups(); ++g)
        for (std::int64_t h = 0; h < c_.H; ++h)
          for (std::int64_t i = 0; i < c_.queries(); ++i) {
            const std::int64_t row = slot(&RowMaps::query_rows, g, c_.queries(), i);
            if (row >= 0) attend(b, g, h, i, row, out.data() + ((b * c_.Nq + row) * c_.H + h) * c_.Dv);
          }
    return out;
  }

 private:
  struct Numbers {
    const std::vector<T>* table = nullptr;
    std::array<const std::vector<T>*, 3> axes = {};
    const std::vector<T>* head_scale = nullptr;
  };
  struct At {
    std::int64_t b, g, h, i, j, query, key;
  };

  const AttentionTerm::Gather& factor() const { return std::get<AttentionTerm::Gather>(o_.factor->kind); }

  static const T& at(const std::vector<T>& v, std::int64_t i) { return v.at(static_cast<std::size_t>(i)); }

  std::int64_t slot(std::vector<std::int32_t> RowMaps::*which, std::int64_t g, std::int64_t count,
                    std::int64_t i) const {
    if (o_.rows == nullptr || ((*o_.rows).*which).empty()) return g * count + i;
    return ((*o_.rows).*which).at(static_cast<std::size_t>(g * count + i));
  }

  // Element d of q, k or v (part 0, 1, 2) of a token; of a padding slot when the row is negative.
  T number(std::int64_t part, std::int64_t b, std::int64_t row, std::int64_t h, std::int64_t d) const {
    const std::int64_t N = part == 0 ? c_.Nq : c_.Nk, width = part == 2 ? c_.Dv : c_.D;
    if (row < 0) return pad_ != nullptr ? at(*pad_, (part * c_.H + h) * width + d) : T(0);
    if (c_.joint) return at(in_[0], ((b * N + row) * 3 + part) * c_.H * width + h * width + d);
    return at(in_[static_cast<std::size_t>(part)], ((b * N + row) * c_.H + h) * width + d);
  }

  static std::int64_t index(const OffsetMap& map, std::int64_t i, std::int64_t j) {
    const std::int64_t offset = map.query_code.at(static_cast<std::size_t>(i)) -
                                map.key_code.at(static_cast<std::size_t>(j)) + map.origin;
    return map.map.empty() ? offset : map.map.at(static_cast<std::size_t>(offset));
  }

  // Place in something of a dense term's shape.
  static std::int64_t dense_place(const Shape& shape, const At& p) {
    const std::int64_t full[5] = {p.b, p.g, p.h, p.i, p.j};
    std::int64_t place = 0;
    for (int axis = 0; axis < shape.rank(); ++axis)
      place = place * shape[axis] + (shape[axis] == 1 ? 0 : full[5 - shape.rank() + axis]);
    return place;
  }

  // Element d of vector `row` of (rows, width) or (H, rows, width).
  static T vector(const std::vector<T>& v, const Shape& shape, std::int64_t h, std::int64_t row,
                  std::int64_t d) {
    return at(v, ((shape.rank() == 3 ? h * shape[-2] : 0) + row) * shape[-1] + d);
  }

  T term(std::size_t t, const At& p) const {
    const AttentionTerm& term = o_.terms[t];
    const Numbers& n = terms_[t];
    return std::visit([&](const auto& kind) { return score(kind, n, p); }, term.kind);
  }

  T score(const AttentionTerm::Dense& dense, const Numbers& n, const At& p) const {
    return at(*n.table, dense_place(dense.bias.shape(), p));
  }

  T score(const AttentionTerm::Gather& gather, const Numbers& n, const At& p) const {
    const std::int64_t row = index(*gather.map, p.i, p.j);
    return row < 0 ? T(0) : at(*n.table, row * c_.H + p.h);
  }

  T score(const AttentionTerm::Bucket& bucket, const Numbers& n, const At& p) const {
    const std::int64_t row = index(*bucket.map, p.i, p.j),
                       token = bucket.side == Side::query ? p.query : p.key;
    if (row < 0 || token < 0) return 0;
    const Var& numbers = bucket.numbers;
    return at(*n.table, ((p.b * numbers.dim(1) + token) * c_.H + p.h) * numbers.dim(3) + row);
  }

  T score(const AttentionTerm::Band& band, const Numbers& n, const At& p) const {
    const bool query = band.side == Side::query;
    const std::int64_t row = index(*band.map, p.i, p.j), token = query ? p.query : p.key;
    if (row < 0 || token < 0) return 0;
    T sum = 0;
    for (std::int64_t d = 0; d < c_.D; ++d)
      sum += number(query ? 0 : 1, p.b, token, p.h, d) * vector(*n.table, band.vectors.shape(), p.h, row, d);
    return scale_ * sum;
  }

  T score(const AttentionTerm::Axis& axis, const Numbers& n, const At& p) const {
    std::int64_t rest = p.j - axis.first_key;
    T sum = 0;
    for (std::size_t a = 3; rest >= 0 && a-- > 0;) {
      if (n.axes[a] == nullptr) continue;
      const std::int64_t extent = axis.tables[a].dim(3);
      sum += at(*n.axes[a], ((p.b * c_.Nq + p.query) * c_.H + p.h) * extent + rest % extent);
      rest /= extent;
    }
    return sum;
  }

  bool visible(const At& p) const {
    if (!o_.key_lengths.empty() && p.j >= o_.key_lengths.at(static_cast<std::size_t>(p.b))) return false;
    const AttentionVisibility& v = o_.visibility;
    if (v.causal && p.j > p.i + v.causal_offset) return false;
    if (v.causal && v.causal_span != 0 && p.j + v.causal_span <= p.i + v.causal_offset) return false;
    if (v.dense != nullptr && v.dense->at(static_cast<std::size_t>(dense_place(v.dense_shape, p))) == 0)
      return false;
    if (p.key < 0 && pad_ == nullptr && !o_.zero_pad) return false;
    if (o_.rows == nullptr) return true;
    const RowMaps& maps = *o_.rows;
    const auto query = static_cast<std::size_t>(p.g * maps.queries + p.i);
    if (!maps.query_region.empty() &&
        maps.query_region.at(query) != maps.key_region.at(static_cast<std::size_t>(p.g * maps.keys + p.j)))
      return false;
    if (maps.query_box.empty() || p.j < maps.box_first_key) return true;
    const std::int32_t* box = maps.query_box.data() + query * 4;
    const std::int64_t y = (p.j - maps.box_first_key) / maps.box_columns,
                       x = (p.j - maps.box_first_key) % maps.box_columns;
    return y >= box[0] && y < box[1] && x >= box[2] && x < box[3];
  }

  double keep(const At& p) const {
    if (c_.rng_seed == 0 || o_.dropout == 0.0f) return 1.0;
    const std::uint32_t key = dropout_row_key(c_.dropout_seed(), (p.b * c_.groups() + p.g) * c_.H + p.h, p.i);
    return dropout_draw(key, p.j) < dropout_threshold(o_.dropout) ? 0.0 : 1 / (1 - double{o_.dropout});
  }

  void attend(std::int64_t b, std::int64_t g, std::int64_t h, std::int64_t i, std::int64_t query,
              T* out) const {
    T total = 0;
    std::vector<T> sum(static_cast<std::size_t>(c_.Dv));
    for (std::int64_t j = 0; j < c_.keys(); ++j) {
      const At p{b, g, h, i, j, query, slot(&RowMaps::key_rows, g, c_.keys(), j)};
      if (!visible(p)) continue;
      T score = 0;
      for (std::int64_t d = 0; d < c_.D; ++d) score += number(0, b, query, h, d) * number(1, b, p.key, h, d);
      score *= scale_;
      if (factor_ != nullptr)
        if (const std::int64_t row = index(*factor().map, i, j); row >= 0)
          score *= at(*factor_, row * c_.H + h);
      for (std::size_t t = 0; t < terms_.size(); ++t)
        score += term(t, p) * (terms_[t].head_scale != nullptr ? at(*terms_[t].head_scale, h) : T(1));
      const T weight = std::exp(score);
      total += weight;
      const std::int64_t row = vectors_ != nullptr ? index(*o_.value_term.map, i, j) : -1;
      for (std::int64_t d = 0; d < c_.Dv; ++d) {
        T value = number(2, b, p.key, h, d);
        if (row >= 0) value += vector(*vectors_, o_.value_term.vectors.shape(), h, row, d);
        sum[static_cast<std::size_t>(d)] += keep(p) * weight * value;
      }
    }
    for (std::int64_t d = 0; d < c_.Dv && total != T(0); ++d)
      out[d] = sum[static_cast<std::size_t>(d)] / total;
  }

  const AttentionCall& c_;
  const AttentionOptions& o_;
  const Values<T>& in_;
  std::vector<Numbers> terms_;
  const std::vector<T>*factor_ = nullptr, *vectors_ = nullptr, *pad_ = nullptr;
  double scale_ = 1;
};

}  // namespace locant::testing
