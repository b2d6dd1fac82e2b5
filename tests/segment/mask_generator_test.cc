#include "segment/mask_generator.h"

#include "core/parallel.h"
#include "tests/segment/oracle.h"

namespace locant {
namespace mask_generator_test {

using namespace testing;

/// R = x mod 256, G = y mod 256, B = x div 256 + 16 (y div 256): a crop tells where it was cut.
Image coordinate_image(std::int64_t rows, std::int64_t columns) {
  Image out{rows, columns, {}};
  for (std::int64_t y = 0; y < rows; ++y) {
    for (std::int64_t x = 0; x < columns; ++x) {
      out.rgb.push_back(static_cast<std::uint8_t>(x % 256));
      out.rgb.push_back(static_cast<std::uint8_t>(y % 256));
      out.rgb.push_back(static_cast<std::uint8_t>(x / 256 + 16 * (y / 256)));
    }
  }
  return out;
}

struct Disc {
  double x, y, r;
};

/// The oracle's stub: three masks and scores a point by formula.
class StubMasks final : public CandidateMasks {
 public:
  struct Prompt {
    Disc disc;
    std::int64_t t;
  };
  std::int64_t x0, y0;
  ImageSize size;
  std::vector<Prompt> prompts;

  std::int64_t count() const override { return 3 * static_cast<std::int64_t>(prompts.size()); }
  float predicted_iou(std::int64_t i) const override {
    const std::int64_t t = prompts[i / 3].t, m = i % 3;
    return static_cast<float>(static_cast<double>(800 + (t * (m + 1) + 17 * m) % 200) / 1000.0);
  }
  void rows(std::int64_t i, float, const MaskUpscaler::RowSink& sink) const override {
    std::vector<float> row(static_cast<std::size_t>(size.columns));
    for (std::int64_t y = 0; y < size.rows; ++y) {
      for (std::int64_t x = 0; x < size.columns; ++x)
        row[x] = static_cast<float>(
            logit(prompts[i / 3], i % 3, static_cast<double>(x + x0), static_cast<double>(y + y0)));
      sink(y, 0, row);
    }
  }

 private:
  static double logit(const Prompt& prompt, std::int64_t m, double x, double y) {
    const auto [cx, cy, r] = prompt.disc;
    const auto squared = [x, y](double a, double b) { return (x - a) * (x - a) + (y - b) * (y - b); };
    const double big = r + 0.25 * static_cast<double>((prompt.t + m) % 5);
    if (m == 0) return (big * big - squared(cx, cy)) / 8.0;
    if (m == 2) return (big * big - squared(cx, cy)) / (4.0 * big);
    const double right = squared(cx + r / 2.0, cy);
    const double part =
        std::max((big / 2.0 * (big / 2.0) - right) / 4.0, (9.0 - squared(cx - r / 2.0, cy)) / 4.0);
    return std::min(part, (right - 16.0) / 4.0);
  }
};

class Stub final : public PointPredictor {
 public:
  explicit Stub(std::vector<Disc> objects) : objects_(std::move(objects)) {}
  int images = 0, resets = 0;

  void set_image(const Image& crop) override {
    ++images;
    x0_ = crop.rgb[0] + 256 * (crop.rgb[2] % 16);
    y0_ = crop.rgb[1] + 256 * (crop.rgb[2] / 16);
    size_ = {crop.rows, crop.columns};
  }
  void reset_image() override { ++resets; }
  std::unique_ptr<CandidateMasks> predict(std::span<const PromptPoint> points) override {
    auto out = std::make_unique<StubMasks>();
    out->x0 = x0_;
    out->y0 = y0_;
    out->size = size_;
    const ResizeLongestSide transform(1024);
    const ImageSize frame = transform.target_size(size_);
    const auto back = [](double p, std::int64_t side, std::int64_t in_frame) {
      const double scale = static_cast<double>(side) / static_cast<double>(in_frame);
      return std::floor(p * scale * 1024.0 + 0.5) / 1024.0;
    };
    for (const PromptPoint& p : transform.apply_coords(points, size_)) {
      const double x = static_cast<double>(x0_) + back(p.x, size_.columns, frame.columns);
      const double y = static_cast<double>(y0_) + back(p.y, size_.rows, frame.rows);
      Disc disc{x, y, 9.0};
      std::size_t k = 0;
      for (; k < objects_.size(); ++k) {
        const Disc& o = objects_[k];
        if ((x - o.x) * (x - o.x) + (y - o.y) * (y - o.y) <= o.r * o.r) break;
      }
      if (k < objects_.size()) disc = objects_[k];
      out->prompts.push_back({disc, 13 * static_cast<std::int64_t>(std::floor(x)) +
                                        7 * static_cast<std::int64_t>(std::floor(y)) +
                                        31 * static_cast<std::int64_t>(k)});
    }
    return out;
  }

 private:
  std::vector<Disc> objects_;
  std::int64_t x0_ = 0, y0_ = 0;
  ImageSize size_;
};

MaskGeneratorOptions options_of(const Json& json) {
  MaskGeneratorOptions out;
  for (const auto& [key, value] : json.items()) {
    if (key == "points_per_side")
      out.points_per_side = value;
    else if (key == "points_per_batch")
      out.points_per_batch = value;
    else if (key == "pred_iou_thresh")
      out.pred_iou_thresh = value;
    else if (key == "stability_score_thresh")
      out.stability_score_thresh = value;
    else if (key == "stability_score_offset")
      out.stability_score_offset = value;
    else if (key == "box_nms_thresh")
      out.box_nms_thresh = value;
    else if (key == "crop_n_layers")
      out.crop_n_layers = value;
    else if (key == "crop_nms_thresh")
      out.crop_nms_thresh = value;
    else if (key == "crop_overlap_ratio")
      out.crop_overlap_ratio = value;
    else if (key == "crop_n_points_downscale_factor")
      out.crop_n_points_downscale_factor = value;
    else if (key == "min_mask_region_area")
      out.min_mask_region_area = value;
    else if (key == "point_grids") {
      for (const Json& grid : value) {
        out.point_grids.emplace_back();
        for (const Json& point : grid) out.point_grids.back().push_back({point[0], point[1]});
      }
    } else {
      EXPECT_EQ(key, "objects");
    }
  }
  return out;
}

std::vector<Disc> objects_of(const Json& oracle, const Json& options) {
  std::vector<Disc> out;
  if (!options.value("objects", true)) return out;
  for (const Json& o : oracle["objects"]) out.push_back({o[0], o[1], o[2]});
  return out;
}

void expect_record(const MaskRecord& got, const Json& want) {
  EXPECT_EQ(got.area, want["area"]);
  EXPECT_EQ(Json(got.bbox), want["bbox"]);
  EXPECT_NEAR(got.predicted_iou, want["predicted_iou"].get<double>(), 1e-6);
  EXPECT_NEAR(got.stability_score, want["stability_score"].get<double>(), 1e-6);
  ASSERT_EQ(got.point_coords.size(), 1u);
  EXPECT_EQ(got.point_coords[0].x, want["point_coords"][0][0].get<double>());
  EXPECT_EQ(got.point_coords[0].y, want["point_coords"][0][1].get<double>());
  EXPECT_EQ(Json(got.crop_box), want["crop_box"]);
  EXPECT_EQ(coco_encode_rle(got.segmentation), want["rle"]);
  EXPECT_EQ(bits_sha256(rle_to_mask(got.segmentation)), want["bits_sha256"]);
}

TEST(MaskGenerator, OfficialRecords) {
  const Json oracle = read_oracle("amg_generate");
  const Image image = coordinate_image(oracle["size_hw"][0], oracle["size_hw"][1]);
  ASSERT_EQ(sha256_hex(image.rgb), oracle["image_sha256"]);
  for (const Json& run : oracle["runs"]) {
    const auto stub = std::make_shared<Stub>(objects_of(oracle, run["options"]));
    const auto records = MaskGenerator(stub, options_of(run["options"])).generate(image);
    // The official code raises where crops find nothing; an empty list is the sensible answer.
    EXPECT_EQ(records.size(), run["count"].is_string() ? 0 : run["count"].get<std::size_t>())
        << run["options"];
    for (std::size_t i = 0; i < std::min(records.size(), run["records"].size()); ++i) {
      SCOPED_TRACE(run["options"].dump() + " record " + std::to_string(i));
      expect_record(records[i], run["records"][i]);
    }
    EXPECT_EQ(stub->images, stub->resets);
  }
}

TEST(MaskGenerator, ReportsProgressAndStops) {
  const Json oracle = read_oracle("amg_generate");
  const auto stub = std::make_shared<Stub>(objects_of(oracle, Json::object()));
  const MaskGenerator generator(stub, {.points_per_side = 6, .points_per_batch = 10, .crop_n_layers = 1});
  const Image image = coordinate_image(90, 120);
  std::vector<MaskGeneratorProgress> seen;
  generator.generate(image, [&](const MaskGeneratorProgress& p) { return seen.push_back(p), true; });
  ASSERT_EQ(seen.size(), 20u);  // 36 points in 5 crops, at most 10 at a time
  EXPECT_EQ(seen[3].points, 36);
  EXPECT_EQ(seen.back().points, 180);
  EXPECT_EQ(seen.back().points_in_all, 180);
  EXPECT_EQ(seen.back().crop, 4u);
  EXPECT_EQ(seen.back().crops, 5u);
  EXPECT_THROW(generator.generate(image, [](const MaskGeneratorProgress& p) { return p.points < 40; }),
               Cancelled);
  EXPECT_EQ(stub->images, stub->resets);
}

TEST(MaskGenerator, RefusesOptionsOutOfRange) {
  const auto stub = std::make_shared<Stub>(std::vector<Disc>());
  const Image image = coordinate_image(8, 8);
  EXPECT_THROW(MaskGenerator(stub, {.points_per_side = 0}), Error);
  EXPECT_THROW(MaskGenerator(stub, {.points_per_batch = 0}), Error);
  EXPECT_THROW(MaskGenerator(stub, {.crop_n_layers = -1}), Error);
  EXPECT_THROW(MaskGenerator(stub, {.crop_overlap_ratio = 1.5}), Error);
  EXPECT_THROW(MaskGenerator(stub, {.min_mask_region_area = -1}), Error);
  EXPECT_THROW(MaskGenerator(stub, {.pred_iou_thresh = std::nan("")}), Error);
  EXPECT_THROW(MaskGenerator(stub, {.crop_n_layers = 1, .point_grids = {{{0.5, 0.5}}}}), Error);
  EXPECT_THROW(MaskGenerator(stub, {.point_grids = {{{0.5, 1.5}}}}), Error);
  EXPECT_THROW(MaskGenerator(stub).generate(Image{}), Error);
  EXPECT_THROW(MaskGenerator(stub).generate(Image{4, 4, std::vector<std::uint8_t>(7)}), Error);
  EXPECT_THROW(MaskGenerator(stub, {.crop_n_layers = 4}).generate(image), Error);
}

}  // namespace mask_generator_test
}  // namespace locant
