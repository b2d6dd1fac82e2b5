#include "cli/segment_output.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/version.h"

namespace locant::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kOpacity = 0.45, kEdge = 0.85;

/// Colours that differ from their neighbours: hues by the golden ratio.
std::array<double, 3> colour(std::size_t index) {
  const double hue = 6.0 * std::fmod(0.58 + static_cast<double>(index) * 0.6180339887498949, 1.0);
  const auto channel = [&](double shift) {
    const double k = std::fmod(shift + hue, 6.0);
    return 255.0 * (1.0 - 0.8 * std::clamp(std::min(k, 4.0 - k), 0.0, 1.0));
  };
  return {channel(5.0), channel(3.0), channel(1.0)};
}

void paint(const Mask& mask, const std::array<double, 3>& colour, Image& out) {
  const std::int64_t rows = mask.size.rows, columns = mask.size.columns;
  const auto set = [&](std::int64_t y, std::int64_t x) {
    return y >= 0 && x >= 0 && y < rows && x < columns &&
           mask.bits[static_cast<std::size_t>(y * columns + x)] != 0;
  };
  for (std::int64_t y = 0; y < rows; ++y)
    for (std::int64_t x = 0; x < columns; ++x) {
      if (!set(y, x)) continue;
      const bool edge = !set(y - 1, x) || !set(y + 1, x) || !set(y, x - 1) || !set(y, x + 1);
      const double share = edge ? kEdge : kOpacity, light = edge ? 0.6 : 1.0;
      std::uint8_t* pixel = out.rgb.data() + 3 * (y * columns + x);
      for (std::size_t c = 0; c < 3; ++c)
        pixel[c] = static_cast<std::uint8_t>(
            std::lround((1.0 - share) * static_cast<double>(pixel[c]) + share * light * colour[c]));
    }
}

/// Indices: what is small is painted last.
std::vector<std::size_t> larger_first(const std::vector<SegmentMask>& masks) {
  std::vector<std::int64_t> areas;
  for (const SegmentMask& mask : masks) areas.push_back(area_from_rle(mask.rle));
  std::vector<std::size_t> order(masks.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return areas[a] > areas[b]; });
  return order;
}

Json segmentation_of(const SegmentMask& mask) {
  return {{"size", {mask.rle.size.rows, mask.rle.size.columns}}, {"counts", coco_encode_rle(mask.rle)}};
}

/// What COCO has no field for.
void add_scores(const SegmentMask& mask, Json& out) {
  out["predicted_iou"] = mask.predicted_iou;
  if (!mask.point_coords.empty()) {
    Json points = Json::array();
    for (const PromptPoint& point : mask.point_coords) points.push_back({point.x, point.y});
    out["point_coords"] = points;
  }
  if (mask.stability_score) out["stability_score"] = *mask.stability_score;
  if (mask.crop_box) out["crop_box"] = *mask.crop_box;
}

Json record_of(const SegmentMask& mask) {
  Json out;
  if (mask.prompt >= 0) out["prompt"] = mask.prompt;
  if (!mask.id.empty()) out["id"] = Json::parse(mask.id);
  out["segmentation"] = segmentation_of(mask);
  out["area"] = area_from_rle(mask.rle);
  out["bbox"] = box_xyxy_to_xywh(rle_to_box(mask.rle));
  add_scores(mask, out);
  return out;
}

Json annotation_of(const SegmentMask& mask, std::size_t id) {
  const PixelBox box = rle_to_box(mask.rle);
  Json out = {{"id", id},
              {"image_id", 1},
              {"category_id", 1},
              {"segmentation", segmentation_of(mask)},
              {"area", area_from_rle(mask.rle)},
              {"bbox", {box.x0, box.y0, box.x1 - box.x0 + 1, box.y1 - box.y0 + 1}},
              {"iscrowd", 0}};
  if (mask.prompt >= 0) out["prompt"] = mask.prompt;
  if (!mask.id.empty()) out["prompt_id"] = Json::parse(mask.id);
  add_scores(mask, out);
  return out;
}

std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

Image mask_picture(const Mask& mask) {
  Image out{mask.size.rows, mask.size.columns, std::vector<std::uint8_t>(3 * mask.bits.size())};
  for (std::size_t n = 0; n < mask.bits.size(); ++n)
    std::fill_n(out.rgb.begin() + static_cast<std::ptrdiff_t>(3 * n), 3,
                static_cast<std::uint8_t>(mask.bits[n] != 0 ? 255 : 0));
  return out;
}

Image masks_picture(ImageSize size, const std::vector<SegmentMask>& masks) {
  Image out{size.rows, size.columns,
            std::vector<std::uint8_t>(static_cast<std::size_t>(3 * size.rows * size.columns))};
  for (const std::size_t n : larger_first(masks)) {
    const Mask mask = rle_to_mask(masks[n].rle);
    const std::array<double, 3> own = colour(n);
    for (std::size_t i = 0; i < mask.bits.size(); ++i)
      for (std::size_t c = 0; c < 3 && mask.bits[i] != 0; ++c)
        out.rgb[3 * i + c] = static_cast<std::uint8_t>(std::lround(own[c]));
  }
  return out;
}

Image overlay_picture(const Image& picture, const std::vector<SegmentMask>& masks) {
  Image out = picture;
  for (const std::size_t n : larger_first(masks)) paint(rle_to_mask(masks[n].rle), colour(n), out);
  return out;
}

std::string masks_json(const std::string& picture, ImageSize size, const std::vector<SegmentMask>& masks,
                       const std::string& model) {
  Json out;
  out["picture"] = picture;
  out["height"] = size.rows;
  out["width"] = size.columns;
  out.update(Json::parse("{" + model + "}"));
  out["masks"] = Json::array();
  for (const SegmentMask& mask : masks) out["masks"].push_back(record_of(mask));
  return text_of(out);
}

std::string coco_json(const std::string& picture, ImageSize size, const std::vector<SegmentMask>& masks) {
  Json out;
  out["info"] = {{"description", std::string("masks by locant ") + version()}};
  out["images"] = Json::array({{{"id", 1},
                                {"file_name", std::filesystem::path(picture).filename().string()},
                                {"height", size.rows},
                                {"width", size.columns}}});
  out["annotations"] = Json::array();
  for (const SegmentMask& mask : masks)
    if (area_from_rle(mask.rle) > 0)
      out["annotations"].push_back(annotation_of(mask, out["annotations"].size() + 1));
  out["categories"] = Json::array({{{"id", 1}, {"name", "object"}, {"supercategory", "object"}}});
  return text_of(out);
}

}  // namespace locant::cli
