#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "autograd/tape.h"
#include "ops/attention.h"

namespace locant {

/// A grid of tokens, row-major, frames slowest. rows = 1: a sequence.
struct Grid {
  std::int64_t frames = 1, rows = 1, columns = 1;
  constexpr std::int64_t tokens() const { return frames * rows * columns; }
};

/// Where an encoding acts.
enum class EncodingPlace { tokens, query_key, score, vectors, value, own_softmax, linear, projection };
const char* place_name(EncodingPlace place);

/// Sizes of one attention call that carries an encoding.
struct EncodingCase {
  std::int64_t B = 1, H = 2, D = 4, Dv = 4;
  Grid query = {}, key = {};
  std::int64_t prefix = 0;     ///< special tokens in front of both grids
  std::string variant = {};    ///< of the encoding's own; empty: the usual one
  std::uint64_t seed = 1;      ///< of the parameters
  double largest_score = 4.0;  ///< about the size of the largest: roundings of scores grow with it
  std::int64_t Nq() const { return prefix + query.tokens(); }
  std::int64_t Nk() const { return prefix + key.tokens(); }
};

enum class AttentionPath { fused, composed };

using Complexes = std::vector<std::complex<double>>;

/// One way to run attention with an encoding, and the plain equation that it must agree with.
struct EncodingInstance {
  /// Leaves with random numbers; names as in checkpoints.
  std::vector<std::pair<std::string, Var>> parameters;
  /// q (B, Nq, H D), k (B, Nk, H D), v (B, Nk, H Dv) -> (B, Nq, H Dv). The path is the attention kernel's;
  /// what has no fused form runs composed on both.
  std::function<Var(const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path)> run;
  /// The same by the equation as the paper writes it, every pair by itself: q, k, v, then the parameters,
  /// each flat. Complex, so that a complex step gives exact gradients: compare real parts, and write |x| and
  /// max analytically.
  std::function<Complexes(const std::vector<Complexes>& numbers)> reference;
};

/// How the floats that attention with an encoding needs grow with the tokens N. axis: N^1.5, a number for
/// each token and each place along a side of the grid.
enum class MemoryGrowth { linear, axis, quadratic };

/// An encoding as tests, command line, benchmarks and docs see it. Formulas are in H (heads), N (tokens), h w
/// (grid), D (head width), C = H D, and the encoding's own letters.
struct Encoding {
  const char* name;    ///< as in file, type, command line, docs
  const char* header;  ///< "position/swin_bias.h"
  const char* title;   ///< one line for people
  EncodingPlace place;
  const char* paper;          ///< authors, year, section or equation
  const char* models;         ///< who uses it
  const char* formula;        ///< one line
  const char* lowering;       ///< what it becomes: "gather term", "composed only: why"
  const char* parameters;     ///< learnable numbers, a formula
  const char* multiply_adds;  ///< beyond those of plain attention, a formula
  const char* memory;         ///< floats beyond q, k, v and out, a formula
  MemoryGrowth growth = MemoryGrowth::linear;
  /// Small cases that the parametrised test runs: odd sizes, non-square and cross-size grids, special tokens,
  /// variants. At most a dozen, of at most 40 tokens.
  std::vector<EncodingCase> (*cases)();
  /// Throws Error that names the encoding when the case does not suit it.
  EncodingInstance (*make)(const EncodingCase& c);
  /// (Nq, Nk): which row of its table each pair reads, -1 for none. Null: no such table.
  std::vector<std::int64_t> (*index)(const EncodingCase& c) = nullptr;
  /// (rows, columns) to be drawn. Null: drawn from `index`.
  Tensor (*picture)(const EncodingCase& c) = nullptr;
};

/// side^2 tokens as the encoding takes them: a square grid; a sequence where its cases are such; 16 frames
/// (or side^2 where that does not divide) where most of them are videos.
Grid natural_grid(const Encoding& encoding, std::int64_t side);

/// Uniform in [-scale, scale] (+ offset), a leaf with gradient; for EncodingInstance::parameters.
Var random_parameter(const Shape& shape, std::uint64_t seed, float scale = 0.5f, float offset = 0.0f);

/// Attention of an instance by the path asked for.
Var run_attention(const Context& ctx, const Var& q, const Var& k, const Var& v,
                  const AttentionOptions& options, AttentionPath path);

/// The (b, h, i, j) view of flat q, k, v for references.
template <class T>
struct PlainCall {
  const EncodingCase& c;
  const std::vector<T>&q, &k, &v;
  const T* query(std::int64_t b, std::int64_t h, std::int64_t i) const {
    return q.data() + ((b * c.Nq() + i) * c.H + h) * c.D;
  }
  const T* key(std::int64_t b, std::int64_t h, std::int64_t j) const {
    return k.data() + ((b * c.Nk() + j) * c.H + h) * c.D;
  }
  const T* value(std::int64_t b, std::int64_t h, std::int64_t j) const {
    return v.data() + ((b * c.Nk() + j) * c.H + h) * c.Dv;
  }
  /// q_i.k_j without scale.
  T dot(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    T sum{};
    for (std::int64_t d = 0; d < c.D; ++d) sum += query(b, h, i)[d] * key(b, h, j)[d];
    return sum;
  }
};

/// softmax_j(score(b, h, i, j)) over the j with seen(b, h, i, j), times value(b, h, i, j, d): references are
/// this with their own score. A query that sees nothing gives zeros.
template <class T, class Score, class Seen, class Value>
std::vector<T> plain_attention(const EncodingCase& c, const Score& score, const Seen& seen,
                               const Value& value) {
  std::vector<T> out(static_cast<std::size_t>(c.B * c.Nq() * c.H * c.Dv));
  std::vector<T> scores(static_cast<std::size_t>(c.Nk()));
  for (std::int64_t b = 0; b < c.B; ++b)
    for (std::int64_t h = 0; h < c.H; ++h)
      for (std::int64_t i = 0; i < c.Nq(); ++i) {
        double most = -HUGE_VAL;
        for (std::int64_t j = 0; j < c.Nk(); ++j) {
          if (!seen(b, h, i, j)) continue;
          scores[static_cast<std::size_t>(j)] = score(b, h, i, j);
          most = std::max(most, std::real(scores[static_cast<std::size_t>(j)]));
        }
        if (most == -HUGE_VAL) continue;
        T* o = out.data() + ((b * c.Nq() + i) * c.H + h) * c.Dv;
        T total{};
        for (std::int64_t j = 0; j < c.Nk(); ++j) {
          if (!seen(b, h, i, j)) continue;
          const T p = std::exp(scores[static_cast<std::size_t>(j)] - T(most));
          total += p;
          for (std::int64_t d = 0; d < c.Dv; ++d) o[d] += p * value(b, h, i, j, d);
        }
        for (std::int64_t d = 0; d < c.Dv; ++d) o[d] /= total;
      }
  return out;
}

/// The usual case: everything seen, values as they are.
template <class T, class Score>
std::vector<T> plain_attention(const PlainCall<T>& call, const Score& score) {
  return plain_attention<T>(
      call.c, score, [](auto, auto, auto, auto) { return true; },
      [&](std::int64_t b, std::int64_t h, std::int64_t, std::int64_t j, std::int64_t d) {
        return call.value(b, h, j)[d];
      });
}

}  // namespace locant
