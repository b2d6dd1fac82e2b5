#include "segment/rle.h"

#include "core/error.h"
#include "tests/segment/oracle.h"

namespace locant {
namespace rle_test {

using namespace testing;

TEST(Rle, OfficialMasks) {
  const Json oracle = read_oracle("amg_pieces");
  for (const Json& row : oracle["masks"]) {
    const Mask mask = spec_mask(row);
    ASSERT_EQ(bits_sha256(mask), row["bits_sha256"]);
    const Rle rle = mask_to_rle(mask);
    const Json& counts = row["counts"];
    if (counts.is_array()) {
      EXPECT_EQ(rle.counts, counts.get<std::vector<std::uint32_t>>());
    } else {
      EXPECT_EQ(rle.counts.size(), counts["length"]);
    }
    EXPECT_EQ(coco_encode_rle(rle), row["coco"]);
    EXPECT_EQ(coco_decode_rle(row["coco"].get<std::string>(), mask.size), rle);
    EXPECT_EQ(rle_to_mask(rle).bits, mask.bits);
    EXPECT_EQ(area_from_rle(rle), row["area"]);
    EXPECT_EQ(rle_to_box(rle), pixel_box(row["box_xyxy"]));
  }
}

TEST(Rle, OfficialCompressedCounts) {
  const Json oracle = read_oracle("amg_pieces");
  for (const Json& row : oracle["coco_counts"]) {
    Rle rle{{1, 1}, row["counts"].get<std::vector<std::uint32_t>>()};
    rle.size.rows = 0;
    for (const std::uint32_t count : rle.counts) rle.size.rows += count;
    EXPECT_EQ(coco_encode_rle(rle), row["string"]);
    EXPECT_EQ(coco_decode_rle(row["string"].get<std::string>(), rle.size), rle);
    EXPECT_EQ(area_from_rle(rle), row["area"]);
  }
}

TEST(Rle, BuilderTakesStretchesOfRows) {
  const std::uint64_t hash = fnv1a64("rle");
  for (const ImageSize size : {ImageSize{1, 1}, ImageSize{1, 23}, ImageSize{23, 1}, ImageSize{13, 37}}) {
    for (std::uint64_t round = 0; round < 60; ++round) {
      Mask mask{size, std::vector<std::uint8_t>(static_cast<std::size_t>(size.rows * size.columns), 0)};
      RleBuilder builder(size);
      for (std::int64_t y = 0; y < size.rows; ++y) {
        const auto draw = [&](std::uint64_t i) { return (v(hash, 9999 * round + 100 * y + i) + 1.0) / 2.0; };
        if (draw(0) < 0.3) continue;  // a row that is never given
        const auto x0 = static_cast<std::int64_t>(draw(1) * static_cast<double>(size.columns));
        const auto n = static_cast<std::int64_t>(draw(2) * static_cast<double>(size.columns - x0 + 1));
        std::uint8_t* row = mask.bits.data() + y * size.columns + x0;
        for (std::int64_t i = 0; i < n; ++i) row[i] = draw(3 + i) < 0.7 ? 1 : 0;
        builder.row(y, x0, {row, static_cast<std::size_t>(n)});
      }
      const Rle rle = builder.finish();
      EXPECT_EQ(rle, mask_to_rle(mask));
      EXPECT_EQ(rle_to_mask(rle).bits, mask.bits);
      EXPECT_EQ(rle_to_box(rle), mask_to_box(mask));
      EXPECT_EQ(area_from_rle(rle), area(mask));
    }
  }
}

TEST(Rle, EmptyRunsInTheMiddleAreNoRuns) {
  const Rle rle{{4, 3}, {0, 3, 0, 2, 1, 0, 1, 5}};
  const std::vector<std::uint8_t> want = {1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1};
  EXPECT_EQ(rle_to_mask(rle).bits, want);
  EXPECT_EQ(rle_to_box(rle), (PixelBox{0, 0, 2, 3}));
}

TEST(Rle, RefusesDamagedInput) {
  const Rle short_one{{4, 4}, {3, 3}};
  EXPECT_THROW(rle_to_mask(short_one), Error);
  EXPECT_THROW(rle_to_box(short_one), Error);
  EXPECT_THROW(rle_to_mask({{4, 4}, {4294967295u, 17}}), Error);
  EXPECT_THROW(rle_to_mask({{0, 4}, {}}), Error);
  EXPECT_THROW(rle_to_mask({{1 << 20, 1 << 20}, {}}), Error);
  EXPECT_THROW(mask_to_rle({{2, 2}, {0, 1, 0}}), Error);
  EXPECT_THROW(RleBuilder({2, 2}).row(2, 0, {}), Error);
  const std::uint8_t bits[3] = {1, 1, 1};
  EXPECT_THROW(RleBuilder({2, 2}).row(0, 0, bits), Error);
  EXPECT_THROW(RleBuilder({2, 2}).row(0, -1, bits), Error);
  const ImageSize size{5, 3};
  EXPECT_EQ(coco_decode_rle("05:", size).counts, (std::vector<std::uint32_t>{0, 5, 10}));
  for (const char* text :
       {"05", "05;", "05:1", "05\x20", "05\x7f", "05P", "PPPPPPPPPPPPP", "", "0O?", "oooooooo1"})
    EXPECT_THROW(coco_decode_rle(text, size), Error) << text;
}

}  // namespace rle_test
}  // namespace locant
