#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "ops/attention/attention.h"

namespace locant {

/// What fused and composed attention share: checked inputs and sizes. Element d of head h in row r of sample
/// b of part p (q, k, v) lies at ((b tokens + r) width + offset + h D + d) of its tensor.
struct AttentionInputs {
  struct Part {
    Var value;
    std::int64_t tokens = 0, width = 0, offset = 0, head_width = 0;
    bool covered = false;  ///< the row map reaches every token
  };
  std::array<Part, 3> parts;  ///< q, k, v
  bool joint = false;         ///< all three are one tensor
  AttentionOptions options;
  std::int64_t B = 0, G = 1, H = 0, Nq = 0, Nk = 0, D = 0, Dv = 0;
  float scale = 0.0f;

  const std::int32_t* query_rows() const { return rows_or_null(&RowMaps::query_rows); }
  const std::int32_t* key_rows() const { return rows_or_null(&RowMaps::key_rows); }
  const std::int32_t* query_region() const { return rows_or_null(&RowMaps::query_region); }
  const std::int32_t* key_region() const { return rows_or_null(&RowMaps::key_region); }
  const std::int32_t* query_box() const { return rows_or_null(&RowMaps::query_box); }
  /// Padding slots act as keys.
  bool pads_are_keys() const { return options.zero_pad || options.pad_bias.defined(); }
  /// Shape of the result, (B, query tokens, H Dv).
  Shape result() const { return {B, parts[0].tokens, H * Dv}; }
  /// Everything that a gradient may reach.
  std::vector<Var> vars() const;
  /// Map of the factor, and its table; null without one.
  const AttentionTerm::Gather* factor() const {
    return options.factor ? &std::get<AttentionTerm::Gather>(options.factor->kind) : nullptr;
  }

 private:
  const std::int32_t* rows_or_null(std::vector<std::int32_t> RowMaps::*which) const {
    const RowMaps* maps = options.rows.get();
    return maps == nullptr || (maps->*which).empty() ? nullptr : (maps->*which).data();
  }
};

/// Throw Error ("[attention] ...") with the sizes when shapes do not fit. What is no shape the kernel checks
/// (kernels/attention_check.h) when it runs, and check_lowered() when it does not.
std::shared_ptr<const AttentionInputs> attention_inputs(const Var& qkv, const AttentionOptions& options);
std::shared_ptr<const AttentionInputs> attention_inputs(const Var& q, const Var& k, const Var& v,
                                                        const AttentionOptions& options);

/// Dropout of this call: p = 0 unless ctx.train, else one seed from ctx.rng. Throws Error without an rng.
AttentionDropout attention_dropout(const Context& ctx, const AttentionInputs& in);

/// Elements between neighbours along (batch, group, head, row) of numbers for every pair, a dense term's or a
/// dense mask's; 0 where they are shared. Throws Error naming `what` and both shapes.
std::array<std::int64_t, 4> dense_strides(const AttentionInputs& in, const Shape& table,
                                          const std::string& what);

}  // namespace locant
