#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "autograd/tape.h"
#include "core/remembered.h"
#include "kernels/score_term.h"

namespace locant {

/// The integers of an OffsetView (kernels/score_term.h): which row of a table a query and a key slot read.
struct OffsetMap {
  std::vector<std::int32_t> query_code = {}, key_code = {};  ///< (Nq), (Nk)
  std::int32_t origin = 0;
  std::vector<std::int32_t> map = {};  ///< (offsets); empty: the identity
  std::int64_t offsets = 0;
  /// How many rows the table must have, found out by the first call (kernels/attention_check.h, rows_wanted):
  /// later ones do not read the map again.
  Remembered rows_wanted = {};
};

/// A term of the scores as tape values, one of the kinds of kernels/score_term.h. Made by the functions
/// below; gradients reach every Var in it.
struct AttentionTerm {
  using Map = std::shared_ptr<const OffsetMap>;
  struct Dense {
    Var bias;
  };
  struct Gather {
    Var table = {};
    Map map = nullptr;
  };
  struct Bucket {
    Side side = Side::query;
    Var numbers = {};
    Map map = nullptr;
  };
  struct Band {
    Side side = Side::query;
    Var vectors = {};
    Map map = nullptr;
  };
  struct Axis {
    std::array<Var, 3> tables = {};  ///< frames, rows, columns; undefined: not used
    std::int64_t first_key = 0;
  };

  std::variant<Dense, Gather, Bucket, Band, Axis> kind = {};
  Var head_scale = {};  ///< (H); undefined: 1

  /// "dense", "gather", "bucket", "band" or "axis".
  const char* name() const;
  /// All that a term may hold, defined or not; head_scale last.
  std::vector<Var*> vars();
  std::vector<const Var*> vars() const;
};

/// bias (Nq, Nk), (H, Nq, Nk), (G, H, Nq, Nk) or (B, G, H, Nq, Nk), extents of 1 shared; also (.., 1, Nk): a
/// number per key.
AttentionTerm dense_term(const Var& bias);
/// table (rows, H), as checkpoints store it.
AttentionTerm gather_term(const Var& table, std::shared_ptr<const OffsetMap> map);
/// numbers (B, N, H, rows) of the query's tokens, or of the key's (product.h, head_products).
AttentionTerm bucket_term(Side side, const Var& numbers, std::shared_ptr<const OffsetMap> map);
/// vectors (rows, D) shared by the heads, or (H, rows, D). Inside the scale of the call.
AttentionTerm band_term(Side side, const Var& vectors, std::shared_ptr<const OffsetMap> map);
/// rows (B, N, H, key rows) and columns (B, N, H, key columns) of the query's tokens, keys from first_key on;
/// frames (B, N, H, key frames) for three axes.
AttentionTerm axis_term(const Var& rows, const Var& columns, std::int64_t first_key = 0,
                        const Var& frames = {});

/// Vectors added to the values: (rows, Dv) shared by the heads, or (H, rows, Dv). Undefined: none.
struct AttentionValueTerm {
  Var vectors = {};
  std::shared_ptr<const OffsetMap> map = nullptr;
};

}  // namespace locant
