#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>
#include <string>

#include "tests/kernels/attention_terms.h"

namespace locant::testing {
namespace attention_seams_test {

constexpr std::array<Side, 2> kSides = {Side::query, Side::key};

/// One call, drawn from a seed: any terms, any masks, any maps, together.
/// Each draw is a statement of its own: compilers differ in which argument of a call they work out first.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : rng_(seed) {}

  /// `longer`: keys of several blocks, and scores that grow from one to the next.
  AttentionCase call(bool longer) {
    c_.B = longer ? 1 : some({1, 1, 2}), c_.G = longer ? 1 : some({1, 1, 2, 3}), c_.H = some({1, 2, 3});
    c_.Nq = some({1, 2, 7, 16, 33, 65, 130});
    c_.Nk = some({1, 2, 7, 16, 33, 65, 130});
    if (longer) c_.Nq = some({7, 33, 65}), c_.Nk = some({513, 530, 1040}), c_.spread = 3.0f;
    // Of many heads each block holds as many keys as any does.
    full_blocks_ = longer && chance(0.5f);
    if (full_blocks_) c_.Nq = 7, c_.H = 8;
    c_.D = some({1, 8, 20}), c_.Dv = some({1, 8, 20});
    // A term's tables are as large as the rows: these come first.
    rows();
    for (std::int64_t count = some({1, 2, 3, 4}); count > 0; --count) c_.terms.push_back(term());
    if (chance(0.4f)) c_.factor = {factor()};
    if (chance(0.5f)) c_.value = {band({Side::query}, c_.Dv)};
    if (!full_blocks_ || chance(0.5f)) masks();
    // Any of these may leave a query one key.
    c_.cancels =
        c_.Nk <= 2 || c_.causal || !c_.key_lengths.empty() || !c_.key_rows.empty() || !c_.dense_mask.empty();
    if (chance(0.4f)) c_.dropout = {0.3f, rng_.next()};
    return std::move(c_);
  }

 private:
  bool chance(float p) { return rng_.uniform() < p; }
  std::int64_t some(std::initializer_list<std::int64_t> of) { return of.begin()[rng_.below(of.size())]; }
  /// In [low, high].
  std::int64_t within(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(rng_.below(static_cast<std::uint64_t>(high - low + 1)));
  }

  /// Row maps with holes; keys may share rows, within a group or between groups, and holes may be keys.
  void rows() {
    c_.rows = c_.G * std::max(c_.Nq, c_.Nk) + 5;
    std::vector<std::int32_t> order(static_cast<std::size_t>(c_.rows));
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t x = order.size(); x-- > 1;) std::swap(order[x], order[rng_.below(x + 1)]);
    const float holes = chance(0.5f) ? 0.0f : 0.15f;
    const auto map = [&](std::int64_t slots, std::int64_t repeat, bool one_group) {
      std::vector<std::int32_t> made;
      for (std::int64_t x = 0; x < c_.G * slots; ++x)
        made.push_back(chance(holes) ? -1
                                     : order[static_cast<std::size_t>((one_group ? x % slots : x) / repeat)]);
      return made;
    };
    if (chance(0.5f)) c_.query_rows = map(c_.Nq, 1, false);
    if (chance(0.6f)) {
      const bool one_group = chance(0.3f);
      c_.key_rows = map(c_.Nk, some({1, 1, 3}), one_group);
    }
    c_.pads = chance(0.4f);
  }

  /// Codes of lines, of grids (their last rows may be short) of one step or of two, in either direction, in
  /// no order, or far apart; a first slot may stand far away.
  AttentionCase::Term codes() {
    std::vector<std::int32_t> query, key;
    const std::int64_t kind = full_blocks_ && chance(0.5f) ? 4 : within(0, 5);
    const std::int64_t query_wide = some({5, 7, 13, 16, 33}), key_wide = chance(0.5f) ? query_wide : 13;
    const std::int64_t step = query_wide + key_wide - 1 + some({0, 0, 1, 20});
    const auto fill = [&](std::int64_t slots, std::int64_t wide, std::vector<std::int32_t>& codes) {
      for (std::int64_t x = 0; x < slots; ++x)
        codes.push_back(static_cast<std::int32_t>(kind <= 1   ? x / wide * step + x % wide
                                                  : kind == 2 ? x
                                                  : kind == 3 ? -x
                                                  : kind == 4 ? 9 * x
                                                              : within(0, 25)));
    };
    fill(c_.Nq, query_wide, query);
    fill(c_.Nk, key_wide, key);
    if (chance(0.2f)) query[0] += 70, key[0] -= 50;
    const auto [query_low, query_high] = std::minmax_element(query.begin(), query.end());
    const auto [key_low, key_high] = std::minmax_element(key.begin(), key.end());
    const std::int32_t slack = chance(0.3f) ? 3 : 0;
    OffsetView offset;
    offset.origin = *key_high - *query_low + slack;
    offset.offsets = offset.table_rows = *query_high - *key_low + offset.origin + 1 + slack;
    AttentionCase::Term term;
    term.term = BandTerm{offset};
    term.query_code = std::move(query), term.key_code = std::move(key);
    return term;
  }

  AttentionCase::Term maybe_mapped(AttentionCase::Term term) {
    if (chance(0.5f)) return term;
    const std::int64_t slack = some({0, 3});
    return clipped(std::move(term), some({1, 5, 31, 64, 90}), slack);
  }

  AttentionCase::Term factor() {
    const bool shared = chance(0.3f);
    return factor_of(maybe_mapped(codes()), c_.H, shared);
  }

  AttentionCase::Term band(std::vector<Side> sides, std::int64_t width) {
    const bool shared = chance(0.3f);
    const Side side = sides.size() == 1 ? sides[0] : sides[rng_.below(sides.size())];
    return band_of(maybe_mapped(codes()), side, c_.H, width, shared);
  }

  /// Strides of the axes, some of which share their numbers.
  std::int64_t axis(std::int64_t extent, std::int64_t& size) {
    if (chance(0.2f)) return 0;
    const std::int64_t stride = size;
    size *= extent;
    return stride;
  }

  AttentionCase::Term bucket() {
    const std::int64_t slack = some({0, 3}), rows = some({1, 5, 31, 32, 64, 90});
    AttentionCase::Term made = clipped(codes(), rows, slack);
    BucketTerm bucket;
    bucket.offset = std::get<BandTerm>(made.term).offset;
    bucket.side = kSides[rng_.below(2)];
    made.size = bucket.offset.table_rows;
    bucket.head_stride = axis(c_.H, made.size);
    bucket.row_stride = axis(c_.rows, made.size);
    bucket.batch_stride = axis(c_.B, made.size);
    made.term = bucket;
    return made;
  }

  AttentionCase::Term dense() {
    std::int64_t size = c_.Nk;
    const std::int64_t row = axis(c_.Nq, size), head = axis(c_.H, size), group = axis(c_.G, size);
    const std::int64_t batch = axis(c_.B, size);
    return dense_term(batch, group, head, row, size);
  }

  AttentionCase::Term grid() {
    const std::int64_t first = within(0, std::min<std::int64_t>(c_.Nk - 1, 5));
    std::array<std::int64_t, 3> extents = {1, 1, 1};
    std::int64_t left = c_.Nk - first, axis = 2;
    for (std::int64_t divisor = 2; left > 1; ++divisor)
      for (; left % divisor == 0; left /= divisor, axis = within(0, 2))
        extents[static_cast<std::size_t>(axis)] *= divisor;
    return axis_term(extents, c_, first);
  }

  AttentionCase::Term term() {
    AttentionCase::Term made;
    switch (within(0, 4)) {
      case 0:
        made = factor();
        break;
      case 1:
        made = bucket();
        break;
      case 2:
        made = band({kSides[0], kSides[1]}, c_.D);
        break;
      case 3:
        made = grid();
        break;
      default:
        made = dense();
    }
    made.wanted = chance(0.8f);
    if (chance(0.4f)) {
      for (std::int64_t h = 0; h < c_.H; ++h) made.head_scale.push_back(1.5f * rng_.uniform() - 0.5f);
      made.head_scale_wanted = chance(0.7f);
    }
    return made;
  }

  void masks() {
    // Of several blocks the first are sometimes seen by nobody.
    const bool longer = c_.Nk > 500;
    if (chance(longer ? 0.7f : 0.4f)) {
      c_.causal = true;
      c_.causal_offset = longer ? within(c_.Nk / 2, c_.Nk) : within(-3, c_.Nk);
      c_.causal_span = chance(0.5f) ? within(1, longer ? c_.Nk / 3 : c_.Nk) : 0;
    }
    if (chance(0.25f)) {
      c_.box_columns = some({1, 5, 13, 40});
      c_.box_first_key = within(0, std::min<std::int64_t>(c_.Nk, 20));
      const std::int64_t down = (c_.Nk - c_.box_first_key) / c_.box_columns + 1;
      for (std::int64_t x = 0; x < c_.G * c_.Nq; ++x) {
        const std::int64_t top = within(-2, down), left = within(-2, c_.box_columns);
        for (const std::int64_t edge : {top, top + within(0, down), left, left + within(0, 13)})
          c_.query_box.push_back(static_cast<std::int32_t>(edge));
      }
    }
    if (chance(0.25f)) {
      std::int64_t size = c_.Nk;
      c_.dense_mask_strides[3] = axis(c_.Nq, size), c_.dense_mask_strides[2] = axis(c_.H, size);
      c_.dense_mask_strides[1] = axis(c_.G, size), c_.dense_mask_strides[0] = axis(c_.B, size);
      for (std::int64_t x = 0; x < size; ++x) c_.dense_mask.push_back(chance(0.3f) ? 0 : 1);
    }
    if (chance(0.3f))
      for (std::int64_t b = 0; b < c_.B; ++b) c_.key_lengths.push_back(within(0, c_.Nk + 1));
    if (chance(0.25f)) {
      for (std::int64_t x = 0; x < c_.G * c_.Nq; ++x)
        c_.query_region.push_back(static_cast<std::int32_t>(within(0, 2)));
      for (std::int64_t x = 0; x < c_.G * c_.Nk; ++x)
        c_.key_region.push_back(static_cast<std::int32_t>(within(0, 2)));
    }
  }

  Rng rng_;
  AttentionCase c_;
  bool full_blocks_ = false;
};

constexpr std::uint64_t kSeeds = 60;

/// How many calls are drawn; LOCANT_SEAMS_SEEDS asks for more (HACKING.md).
std::uint64_t seeds() {
  const char* wanted = std::getenv("LOCANT_SEAMS_SEEDS");
  return wanted != nullptr && *wanted != '\0' ? std::stoull(wanted) : kSeeds;
}

// Each part of the kernel has a test of its own; here they meet.
TEST(AttentionSeams, AnythingTogether) {
  for (std::uint64_t seed = 0; seed < seeds(); ++seed)
    check_attention(Draw(seed).call(seed % 4 == 3), fmt::format("seed {}", seed));
}

}  // namespace attention_seams_test
}  // namespace locant::testing
