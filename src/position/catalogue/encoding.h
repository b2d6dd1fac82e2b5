#pragma once

#include <complex>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "autograd/tape.h"
#include "position/grid.h"
#include "position/shared/attention_path.h"

namespace locant {

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

using Complex = std::complex<double>;
using Complexes = std::vector<Complex>;
using Parameters = std::vector<std::pair<std::string, Var>>;

/// One way to run attention with an encoding, and the plain equation that it must agree with.
struct EncodingInstance {
  /// Leaves with random numbers; names as in checkpoints.
  Parameters parameters;
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

/// Which grids an encoding takes: any two, two of one frame each, one for queries and keys, one of one frame.
enum class EncodingGrids { any, flat, one, one_flat };

/// An encoding as tests, command line, benchmarks and docs see it. Formulas are in H (heads), N (tokens), h w
/// (grid), D (head width), C = H D, and the encoding's own letters.
struct Encoding {
  const char* name;   ///< as in file, type, command line, docs
  const char* title;  ///< one line for people
  EncodingPlace place;
  const char* paper;          ///< authors, year, section or equation
  const char* models;         ///< who uses it
  const char* formula;        ///< one line
  const char* lowering;       ///< what it becomes: "gather term", "composed only: why"
  const char* parameters;     ///< learnable numbers, a formula
  const char* multiply_adds;  ///< beyond those of plain attention, a formula
  const char* memory;         ///< floats beyond q, k, v and out, a formula
  MemoryGrowth growth = MemoryGrowth::linear;

  // What it takes; make refuses the rest.
  EncodingGrids grids = EncodingGrids::any;
  bool prefix = false;             ///< special tokens in front
  const char* variants[10] = {};   ///< beside the empty one, up to a null
  bool composes_variants = false;  ///< variants are words put together, which `instance` checks

  /// Small cases that the parametrised test runs: odd sizes, non-square and cross-size grids, special tokens,
  /// variants. At most a dozen, of at most 40 tokens.
  std::vector<EncodingCase> (*cases)();
  /// Of a case that make has let through. Throws Error that names the encoding where it does not suit for a
  /// reason of the encoding's own.
  EncodingInstance (*instance)(const EncodingCase& c);
  /// (Nq, Nk): which row of its table each pair reads, -1 for none. Null: no such table. This and the picture
  /// are of cases that make takes.
  std::vector<std::int64_t> (*index)(const EncodingCase& c) = nullptr;
  /// (rows, columns) to be drawn. Null: drawn from `index`.
  Tensor (*picture)(const EncodingCase& c) = nullptr;

  /// Throws Error that names the encoding when the case does not suit it.
  EncodingInstance make(const EncodingCase& c) const;
};

/// side^2 tokens as the encoding takes them: a square grid; a sequence where its cases are such; 16 frames
/// (or side^2 where that does not divide) where most of them are videos.
Grid natural_grid(const Encoding& encoding, std::int64_t side);

}  // namespace locant
