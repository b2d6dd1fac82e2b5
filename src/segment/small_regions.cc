#include "segment/small_regions.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace locant {
namespace {

/// A stretch of equal pixels in a row: columns begin ... end - 1.
struct Run {
  std::int32_t begin, end;
  std::int32_t parent;  ///< union-find over runs
};

struct Component {
  std::int64_t area = 0;
  std::int64_t first_block = 0;  ///< of 2 x 2 pixels, row-major: the order of OpenCV's labels
};

/// Runs of a value, with where each row's begin; joined runs share a root.
struct Runs {
  std::vector<Run> runs;
  std::vector<std::size_t> row_begin;

  std::int32_t root(std::int32_t i) {
    while (runs[i].parent != i) i = runs[i].parent = runs[runs[i].parent].parent;
    return i;
  }
  /// The earlier run stays the root.
  void join(std::int32_t a, std::int32_t b) {
    a = root(a), b = root(b);
    runs[std::max(a, b)].parent = std::min(a, b);
  }
};

void find_runs(const std::uint8_t* row, std::int64_t columns, std::uint8_t value, std::vector<Run>& runs) {
  const auto next = [row, columns](std::int64_t from, int wanted) {
    const void* at = std::memchr(row + from, wanted, static_cast<std::size_t>(columns - from));
    return at == nullptr ? columns : static_cast<const std::uint8_t*>(at) - row;
  };
  for (std::int64_t x = next(0, value); x < columns;) {
    const std::int64_t end = next(x, 1 - value);
    runs.push_back({static_cast<std::int32_t>(x), static_cast<std::int32_t>(end),
                    static_cast<std::int32_t>(runs.size())});
    x = end < columns ? next(end, value) : columns;
  }
}

Runs connect(const Mask& mask, std::uint8_t value) {
  Runs out;
  out.row_begin.push_back(0);
  for (std::int64_t y = 0; y < mask.size.rows; ++y) {
    find_runs(mask.bits.data() + y * mask.size.columns, mask.size.columns, value, out.runs);
    out.row_begin.push_back(out.runs.size());
    if (y == 0) continue;
    // Diagonal neighbours count: runs touch when they overlap after growing by one pixel.
    std::size_t above = out.row_begin[y - 1];
    for (std::size_t i = out.row_begin[y]; i < out.row_begin[y + 1]; ++i) {
      while (above < out.row_begin[y] && out.runs[above].end < out.runs[i].begin) ++above;
      for (std::size_t j = above; j < out.row_begin[y] && out.runs[j].begin <= out.runs[i].end; ++j)
        out.join(static_cast<std::int32_t>(j), static_cast<std::int32_t>(i));
    }
  }
  return out;
}

/// By root; other entries stay empty.
std::vector<Component> measure(Runs& runs, std::int64_t columns) {
  std::vector<Component> out(runs.runs.size());
  for (std::size_t y = 0; y + 1 < runs.row_begin.size(); ++y) {
    for (std::size_t i = runs.row_begin[y]; i < runs.row_begin[y + 1]; ++i) {
      Component& component = out[static_cast<std::size_t>(runs.root(static_cast<std::int32_t>(i)))];
      const std::int64_t block =
          static_cast<std::int64_t>(y / 2) * ((columns + 1) / 2) + runs.runs[i].begin / 2;
      component.first_block = component.area == 0 ? block : std::min(component.first_block, block);
      component.area += runs.runs[i].end - runs.runs[i].begin;
    }
  }
  return out;
}

/// The largest of all components; of equals the one whose first block comes first.
std::size_t largest(const std::vector<Component>& components) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < components.size(); ++i) {
    const Component &a = components[i], &b = components[best];
    if (a.area > b.area || (a.area == b.area && a.area > 0 && a.first_block < b.first_block)) best = i;
  }
  return best;
}

}  // namespace

bool remove_small_regions(Mask& mask, double area_threshold, RegionMode mode) {
  check_mask(mask, "remove_small_regions");
  const std::uint8_t value = mode == RegionMode::holes ? 0 : 1;
  Runs runs = connect(mask, value);
  const std::vector<Component> components = measure(runs, mask.size.columns);
  const auto small = [&](std::size_t i) { return static_cast<double>(components[i].area) < area_threshold; };
  bool any_small = false, any_large = false;
  for (std::size_t i = 0; i < components.size(); ++i) {
    if (components[i].area == 0) continue;
    (small(i) ? any_small : any_large) = true;
  }
  if (!any_small) return false;
  const bool spare = mode == RegionMode::islands && !any_large;
  const std::size_t spared = spare ? largest(components) : components.size();
  for (std::int64_t y = 0; y < mask.size.rows; ++y) {
    std::uint8_t* row = mask.bits.data() + y * mask.size.columns;
    for (std::size_t i = runs.row_begin[y]; i < runs.row_begin[y + 1]; ++i) {
      const auto root = static_cast<std::size_t>(runs.root(static_cast<std::int32_t>(i)));
      if (small(root) && root != spared)
        std::fill(row + runs.runs[i].begin, row + runs.runs[i].end, static_cast<std::uint8_t>(1 - value));
    }
  }
  return true;
}

}  // namespace locant
