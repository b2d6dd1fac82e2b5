#include "segment/segment_data.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "io/image.h"
#include "io/labels.h"
#include "io/mapped_file.h"
#include "io/picture_files.h"
#include "segment/embedding_cache.h"
#include "segment/transforms.h"

namespace locant {
namespace {

namespace fs = std::filesystem;
constexpr const char* kSegmentDataOp = "segment_data";
constexpr std::size_t kMostObjects = 4096;

constexpr const char* kNoFile = "no regular file, but a FIFO, a device or a socket";

/// masks/NAME with the first ending that is there; empty where none is.
fs::path mask_of(const fs::path& folder, const fs::path& picture) {
  for (const char* ending : {".png", ".tif", ".tiff", ".pgm", ".ppm", ".webp"}) {
    fs::path path = folder / (picture.stem().string() + ending);
    if (std::error_code unknown; fs::exists(path, unknown)) return path;
  }
  return {};
}

/// One bit mask a label on the low-resolution grid: a cell belongs to an object that its centre lies in.
std::map<std::uint32_t, Mask> low_masks(const Labels& mask, const SamFrame& frame, std::int64_t low,
                                        const std::string& path) {
  const double cell = static_cast<double>(frame.image_size) / static_cast<double>(low);
  std::map<std::uint32_t, Mask> out;
  for (std::int64_t y = 0; y < low; ++y)
    for (std::int64_t x = 0; x < low; ++x) {
      const double fy = (static_cast<double>(y) + 0.5) * cell, fx = (static_cast<double>(x) + 0.5) * cell;
      if (fy >= static_cast<double>(frame.input.rows) || fx >= static_cast<double>(frame.input.columns))
        continue;
      const auto row = static_cast<std::int64_t>(fy * static_cast<double>(mask.rows) /
                                                 static_cast<double>(frame.input.rows)),
                 column = static_cast<std::int64_t>(fx * static_cast<double>(mask.columns) /
                                                    static_cast<double>(frame.input.columns));
      const std::uint32_t label = mask.values[static_cast<std::size_t>(row * mask.columns + column)];
      if (label == 0) continue;
      require(out.count(label) > 0 || out.size() < kMostObjects, kSegmentDataOp,
              "{}: more than {} objects; a mask has one number or flat colour an object, no shades", path,
              kMostObjects);
      Mask& bits = out[label];
      if (bits.bits.empty())
        bits = {{low, low}, std::vector<std::uint8_t>(static_cast<std::size_t>(low * low))};
      bits.bits[static_cast<std::size_t>(y * low + x)] = 1;
    }
  return out;
}

std::vector<std::int64_t> cells_of(const Mask& mask) {
  std::vector<std::int64_t> out;
  for (std::size_t n = 0; n < mask.bits.size(); ++n)
    if (mask.bits[n] != 0) out.push_back(static_cast<std::int64_t>(n));
  require(!out.empty(), kSegmentDataOp, "an object without a cell");
  return out;
}

/// The centre of a cell in the encoder's frame.
void put_cell(std::int64_t at, const Mask& mask, std::int64_t image_size, float* xy) {
  const double cell = static_cast<double>(image_size) / static_cast<double>(mask.size.columns);
  xy[0] = static_cast<float>((static_cast<double>(at % mask.size.columns) + 0.5) * cell - 0.5);
  xy[1] = static_cast<float>((static_cast<double>(at / mask.size.columns) + 0.5) * cell - 0.5);
}

}  // namespace

SegmentData read_segment_data(const std::string& folder, std::int64_t image_size, std::int64_t low,
                              bool strict) {
  const ResizeLongestSide transform(image_size);
  SegmentData out;
  std::size_t without = 0, small = 0;
  const auto add = [&](const fs::path& path) {
    const fs::path mask_path = mask_of(fs::path(folder) / "masks", path);
    if (mask_path.empty()) {
      ++without;
      return;
    }
    std::error_code unknown;
    require(fs::is_regular_file(mask_path, unknown), kSegmentDataOp, "{}: {}", mask_path.string(), kNoFile);
    const Image image = read_image(path.string());
    const Labels mask = read_labels(mask_path.string());
    require(image.rows == mask.rows && image.columns == mask.columns, kSegmentDataOp,
            "{} has {} x {} pixels, its picture {} x {}", mask_path.string(), mask.columns, mask.rows,
            image.columns, image.rows);
    SegmentPicture picture;
    picture.path = path.string();
    picture.frame = {
        image_size, transform.target_size({image.rows, image.columns}), {image.rows, image.columns}};
    const auto file = MappedFile::open(path.string());
    picture.key =
        picture_key({reinterpret_cast<const std::uint8_t*>(file->bytes().data()), file->bytes().size()});
    const std::map<std::uint32_t, Mask> masks = low_masks(mask, picture.frame, low, mask_path.string());
    if (masks.empty()) ++small;
    for (const auto& [label, bits] : masks) out.objects.push_back({out.pictures.size(), mask_to_rle(bits)});
    out.pictures.push_back(std::move(picture));
  };
  const auto skip = [&](const SkippedPicture& picture) {
    if (strict) fail(kSegmentDataOp, "{}: {}; without --strict it is left out", picture.path, picture.reason);
    out.skipped.push_back(picture);
  };
  const fs::path images = fs::path(folder) / "images";
  require(fs::is_directory(images), kSegmentDataOp, "{}: no folder; images/ and masks/ were expected in {}",
          images.string(), folder);
  const PictureFiles files = pictures_in(images.string());
  for (const std::string& path : files.others) skip({path, kNoFile});
  for (const std::string& path : files.pictures) try {
      add(path);
    } catch (const Error& error) {
      skip(skipped_picture(path, error));
    }
  if (without > 0) out.notes.push_back(fmt::format("{} pictures without a mask are left out", without));
  if (small > 0)
    out.notes.push_back(
        fmt::format("{} masks are empty, or too small for a cell of the low resolution", small));
  const bool any = !out.skipped.empty();
  require(!out.objects.empty(), kSegmentDataOp,
          "{}: no objects; images/NAME.jpg and masks/NAME.png were expected{}{}", folder,
          any ? fmt::format("; {} pictures were left out, the first ", out.skipped.size()) : "",
          any ? out.skipped.front().path + ": " + out.skipped.front().reason : "");
  return out;
}

Tensor target_masks(const std::vector<const SegmentObject*>& objects, std::int64_t low) {
  Tensor out({static_cast<std::int64_t>(objects.size()), low * low});
  for (std::size_t n = 0; n < objects.size(); ++n) {
    const Mask mask = rle_to_mask(objects[n]->mask);
    std::copy(mask.bits.begin(), mask.bits.end(), out.data() + static_cast<std::int64_t>(n) * low * low);
  }
  return out;
}

void add_point_prompt(const Mask& mask, std::int64_t image_size, std::int64_t points, Rng& rng, float* xy) {
  const std::vector<std::int64_t> cells = cells_of(mask);
  for (std::int64_t p = 0; p < points; ++p)
    put_cell(cells[static_cast<std::size_t>(rng.below(cells.size()))], mask, image_size, xy + 2 * p);
}

void add_box_prompt(const Mask& mask, std::int64_t image_size, Rng* rng, float* xyxy) {
  const PixelBox box = mask_to_box(mask);
  const double cell = static_cast<double>(image_size) / static_cast<double>(mask.size.columns);
  const double corners[4] = {static_cast<double>(box.x0) * cell, static_cast<double>(box.y0) * cell,
                             static_cast<double>(box.x1 + 1) * cell, static_cast<double>(box.y1 + 1) * cell};
  const double sides[2] = {corners[2] - corners[0], corners[3] - corners[1]};
  constexpr double kPart = 0.1, kMost = 20.0;
  for (int c = 0; c < 4; ++c) {
    const double moved = rng == nullptr ? 0.0 : static_cast<double>(rng->normal()) * kPart * sides[c % 2];
    xyxy[c] = static_cast<float>(
        std::clamp(corners[c] + std::clamp(moved, -kMost, kMost), 0.0, static_cast<double>(image_size)));
  }
}

void add_centre_prompt(const Mask& mask, std::int64_t image_size, float* xy) {
  const std::vector<std::int64_t> cells = cells_of(mask);
  const std::int64_t wide = mask.size.columns;
  double x = 0.0, y = 0.0;
  for (const std::int64_t cell : cells) {
    x += static_cast<double>(cell % wide);
    y += static_cast<double>(cell / wide);
  }
  x /= static_cast<double>(cells.size());
  y /= static_cast<double>(cells.size());
  const auto distance = [&](std::int64_t cell) {
    const double dx = static_cast<double>(cell % wide) - x, dy = static_cast<double>(cell / wide) - y;
    return dx * dx + dy * dy;
  };
  put_cell(*std::min_element(cells.begin(), cells.end(),
                             [&](std::int64_t a, std::int64_t b) { return distance(a) < distance(b); }),
           mask, image_size, xy);
}

}  // namespace locant
