#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace locant {

/// A piece of one of many tensors, so that one parallel loop balances large and small ones.
struct Block {
  std::size_t tensor;
  std::int64_t begin, end;
};

/// Pieces of at most 16,384 numbers, in order: what is added up piece by piece does not depend on threads.
inline std::vector<Block> blocks_of(const std::vector<std::int64_t>& sizes) {
  constexpr std::int64_t kBlock = 16384;
  std::vector<Block> blocks;
  for (std::size_t i = 0; i < sizes.size(); ++i)
    for (std::int64_t begin = 0; begin < sizes[i]; begin += kBlock)
      blocks.push_back({i, begin, std::min(begin + kBlock, sizes[i])});
  return blocks;
}

}  // namespace locant
