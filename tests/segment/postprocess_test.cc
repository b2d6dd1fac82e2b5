#include "segment/postprocess.h"

#include "core/error.h"
#include "core/parallel.h"
#include "segment/rle.h"
#include "tests/segment/oracle.h"

namespace locant {
namespace postprocess_test {

using namespace testing;

/// The four low-resolution masks of the oracle, (4, 256, 256).
Tensor low_masks() {
  const Json oracle = read_oracle("postprocess_masks");
  Tensor out({4, 256, 256});
  const auto disc = disc_logits({256, 256}, oracle["low_res"]["disc"]);
  const auto discs = disc_logits({256, 256}, oracle["low_res"]["discs"]);
  const std::uint64_t hash = fnv1a64("low_res");
  for (std::int64_t i = 0; i < 65536; ++i) {
    const double y = static_cast<double>(i / 256), x = static_cast<double>(i % 256);
    out[i] = disc[i];
    out[65536 + i] = discs[i];
    out[2 * 65536 + i] = static_cast<float>(((x - 120.25) * (y - 90.5) - 900.0) / 256.0);
    out[3 * 65536 + i] = static_cast<float>(4.0 * v(hash, static_cast<std::uint64_t>(i)));
  }
  std::size_t k = 0;
  for (const char* name : {"disc", "discs", "saddle", "noise"}) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(out.data() + 65536 * k++);
    EXPECT_EQ(sha256_hex({bytes, 65536 * 4}), oracle["low_res_sha256"][name]) << name;
  }
  return out;
}

TEST(PostprocessMasks, OfficialLogitsAndMasks) {
  const Json oracle = read_oracle("postprocess_masks");
  const Tensor low = low_masks();
  double worst = 0.0;
  for (const Json& row : oracle["sizes"]) {
    const SamFrame frame{1024, size_of(row["input_hw"]), size_of(row["original_hw"])};
    const Tensor logits = postprocess_masks(low.reshaped({2, 2, 256, 256}), frame);
    ASSERT_EQ(logits.shape(), Shape({2, 2, frame.original.rows, frame.original.columns}));
    const std::vector<Mask> masks = postprocess_binary_masks(low, frame);
    ASSERT_EQ(masks.size(), 4u);
    const std::int64_t pixels = frame.original.rows * frame.original.columns;
    for (std::size_t k = 0; k < 4; ++k) {
      const Json& want = row["masks"][k];
      const std::span<const float> values = logits.values().subspan(k * pixels, pixels);
      worst = std::max(worst, summary_error(values, want));
      EXPECT_LT(summary_error(values, want), 2e-4) << row["original_hw"] << want["low_res"];
      EXPECT_EQ(differing_pixels(masks[k], above_zero(frame.original, {values.begin(), values.end()})), 0);
      const std::int64_t near = want["near"];
      if (near == 0) {
        EXPECT_EQ(bits_sha256(masks[k]), want["sha256"]) << row["original_hw"] << want["low_res"];
      }
      if (want.contains("rle")) {
        const Rle rle = coco_decode_rle(want["rle"].get<std::string>(), frame.original);
        EXPECT_LE(differing_pixels(masks[k], rle_to_mask(rle)), near);
      } else {
        EXPECT_LE(std::abs(area(masks[k]) - want["area"].get<std::int64_t>()), near);
      }
    }
  }
  RecordProperty("worst", std::to_string(worst));
}

TEST(PostprocessMasks, LeavesOutOnlyWhatIsBelowTheFloor) {
  const Tensor low = low_masks();
  for (const ImageSize original : {ImageSize{300, 451}, ImageSize{2048, 1365}, ImageSize{63, 64}}) {
    const SamFrame frame{1024, ResizeLongestSide(1024).target_size(original), original};
    const MaskUpscaler upscaler({256, 256}, frame);
    for (const float floor : {-1.0f, 0.0f, 3.5f, 1e6f}) {
      for (std::int64_t k = 0; k < 4; ++k) {
        const std::span<const float> one = low.values().subspan(65536 * k, 65536);
        const Tensor whole = postprocess_masks(low.slice(k, k + 1).reshaped({256, 256}), frame);
        Tensor part = Tensor::full(whole.shape(), -1e30f);
        std::int64_t given = 0;
        upscaler.rows(one, floor, [&](std::int64_t y, std::int64_t x0, std::span<const float> logits) {
          std::copy(logits.begin(), logits.end(), part.data() + y * original.columns + x0);
          given += static_cast<std::int64_t>(logits.size());
        });
        for (std::int64_t i = 0; i < whole.numel(); ++i) {
          if (part[i] == -1e30f) {
            EXPECT_LE(whole[i], floor);
          } else {
            EXPECT_EQ(part[i], whole[i]);
          }
        }
        EXPECT_TRUE(floor < 1e6f || given == 0);
        EXPECT_TRUE(k != 0 || given < whole.numel() / 2);  // one disc
      }
    }
  }
}

/// Both steps written out, in float64.
std::vector<double> two_steps(std::vector<double> x, std::int64_t h, std::int64_t w, const SamFrame& frame) {
  const auto step = [](const std::vector<double>& in, std::int64_t rows, std::int64_t columns,
                       std::int64_t stride, ImageSize out) {
    const auto at = [&](std::int64_t y, std::int64_t c) { return in[y * stride + c]; };
    std::vector<double> result;
    for (std::int64_t y = 0; y < out.rows; ++y) {
      const double sy = std::max((y + 0.5) * rows / out.rows - 0.5, 0.0);
      const auto y0 = static_cast<std::int64_t>(sy), y1 = std::min(y0 + 1, rows - 1);
      for (std::int64_t c = 0; c < out.columns; ++c) {
        const double sx = std::max((c + 0.5) * columns / out.columns - 0.5, 0.0);
        const auto x0 = static_cast<std::int64_t>(sx), x1 = std::min(x0 + 1, columns - 1);
        const double ty = sy - y0, tx = sx - x0;
        result.push_back((1 - ty) * ((1 - tx) * at(y0, x0) + tx * at(y0, x1)) +
                         ty * ((1 - tx) * at(y1, x0) + tx * at(y1, x1)));
      }
    }
    return result;
  };
  x = step(x, h, w, w, {frame.image_size, frame.image_size});
  return step(x, frame.input.rows, frame.input.columns, frame.image_size, frame.original);
}

TEST(PostprocessMasks, FramesSmallerThanTheMasksToo) {
  const std::uint64_t hash = fnv1a64("postprocess");
  Tensor low({16, 24});
  std::vector<double> wide;
  for (std::int64_t i = 0; i < low.numel(); ++i) wide.push_back(low[i] = static_cast<float>(v(hash, i)));
  for (const std::int64_t side : {1, 3, 7, 16, 24, 40}) {
    for (const ImageSize original : {ImageSize{1, 1}, ImageSize{5, 9}, ImageSize{31, 50}}) {
      const SamFrame frame{side, {std::max<std::int64_t>(side - 2, 1), side}, original};
      const Tensor got = postprocess_masks(low, frame);
      const std::vector<double> want = two_steps(wide, 16, 24, frame);
      for (std::int64_t i = 0; i < got.numel(); ++i) EXPECT_NEAR(got[i], want[i], 1e-6);
    }
  }
}

TEST(PostprocessMasks, ThreadsDoNotChangeBits) {
  const Tensor low = low_masks();
  const SamFrame frame{1024, {768, 1024}, {900, 1200}};
  const int threads = num_threads();
  const Tensor a = postprocess_masks(low, frame);
  set_num_threads(1);
  const Tensor b = postprocess_masks(low, frame);
  set_num_threads(threads);
  EXPECT_TRUE(std::equal(a.values().begin(), a.values().end(), b.values().begin()));
}

TEST(PostprocessMasks, RefusesImpossibleSizes) {
  const Tensor low({2, 8, 8});
  EXPECT_THROW(postprocess_masks(Tensor({8}), {16, {16, 16}, {4, 4}}), Error);
  EXPECT_THROW(postprocess_masks(Tensor(Shape{2, 0, 8}), {16, {16, 16}, {4, 4}}), Error);
  EXPECT_THROW(postprocess_masks(low, {16, {17, 16}, {4, 4}}), Error);
  EXPECT_THROW(postprocess_masks(low, {16, {0, 16}, {4, 4}}), Error);
  EXPECT_THROW(postprocess_masks(low, {16, {16, 16}, {0, 4}}), Error);
  EXPECT_THROW(postprocess_masks(low, {16, {16, 16}, {1 << 20, 1 << 20}}), Error);
  EXPECT_THROW(postprocess_masks(low, {1 << 20, {16, 16}, {4, 4}}), Error);
}

}  // namespace postprocess_test
}  // namespace locant
