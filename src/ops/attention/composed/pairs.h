#pragma once

#include <functional>
#include <vector>

#include "ops/attention/inputs.h"

namespace locant {

/// Numbers that composed attention holds for every pair of slots.

/// Which row of its table each pair of slots reads, (Nq, Nk); negative: none.
std::vector<std::int32_t> pair_rows(const AttentionInputs& in, const OffsetMap& map);
/// table (rows, H) read for every pair: (H, Nq, Nk), `nothing` where no row is read.
Tensor read_pairs(const AttentionInputs& in, const Tensor& table, const OffsetMap& map, float nothing);
/// Its gradient: dpairs (H, Nq, Nk) summed into (rows, H).
Tensor read_pairs_gradient(const AttentionInputs& in, const Tensor& dpairs, const Shape& table,
                           const OffsetMap& map);

/// scores (B, G, H, Nq, Nk) += scale[h] pairs, which have the shape of a dense term.
void add_pairs(const AttentionInputs& in, const Tensor& pairs, const std::vector<float>& scale,
               Tensor& scores);
/// Its gradient: sums of scale[h] dscores over what shares an entry.
Tensor pairs_gradient(const AttentionInputs& in, const Shape& pairs, const std::vector<float>& scale,
                      const Tensor& dscores);

/// body(tile number (b G + g) H + h, h); the tiles of a (b, h) in one thread, one after the other.
void each_tile(const AttentionInputs& in, const std::function<void(std::int64_t tile, std::int64_t h)>& body);

}  // namespace locant
