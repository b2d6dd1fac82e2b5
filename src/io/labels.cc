#include "io/labels.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.h"
#include "io/exif.h"
#include "io/label_decoders.h"

namespace locant {
namespace image_io {

std::vector<std::uint32_t> colour_labels(std::span<const std::uint16_t> samples, std::size_t step,
                                         bool wide) {
  std::vector<std::uint64_t> colours(samples.size() / step);
  const int bits = wide ? 16 : 8;
  for (std::size_t i = 0; i < colours.size(); ++i) {
    const std::uint16_t* at = samples.data() + i * step;
    colours[i] =
        static_cast<std::uint64_t>(at[0]) << (2 * bits) | static_cast<std::uint64_t>(at[1]) << bits | at[2];
  }
  if (!wide) return {colours.begin(), colours.end()};
  std::map<std::uint64_t, std::uint32_t> numbers = {{0, 0}};
  for (std::size_t i = 0; i < colours.size(); ++i)
    if (i == 0 || colours[i] != colours[i - 1]) numbers.emplace(colours[i], 0);
  std::uint32_t next = 0;
  for (auto& [colour, number] : numbers) number = next++;
  std::vector<std::uint32_t> out(colours.size());
  std::transform(colours.begin(), colours.end(), out.begin(), [&](std::uint64_t c) { return numbers.at(c); });
  return out;
}

void settle_palette(std::span<const std::uint8_t> palette, std::vector<std::uint32_t>& values) {
  const std::size_t count = palette.size() / 3;
  const auto is = [&](std::size_t index, int red, int green, int blue) {
    const std::uint8_t* at = palette.data() + 3 * index;
    return index < count && at[0] == red && at[1] == green && at[2] == blue;
  };
  std::vector<bool> used(65536);
  for (const std::uint32_t value : values) used[value] = true;
  std::vector<std::uint32_t> label(65536);
  for (std::size_t i = 0; i < label.size(); ++i) label[i] = static_cast<std::uint32_t>(i);
  if (count > 0 && !is(0, 0, 0, 0)) {
    for (std::size_t i = count - 1; i > 0; --i) {
      if (!used[i] || !is(i, 0, 0, 0)) continue;
      label[i] = 0;
      label[0] = static_cast<std::uint32_t>(i);
    }
  }
  if (is(255, 224, 224, 192)) label[255] = 0;
  for (std::uint32_t& value : values) value = label[value];
}

namespace {

DecodedLabels decode(Bytes bytes, const std::string& name, const DecodeOptions& options) {
  const Format format = format_of(bytes, name);
  check_page(format, name, options);
  switch (format) {
    case Format::png:
      return decode_png_labels(bytes, name, options);
    case Format::webp:
      return decode_webp_labels(bytes, name, options);
    case Format::ppm:
      return decode_ppm_labels(bytes, name, options);
    case Format::tiff:
      return decode_tiff_labels(bytes, name, options);
    case Format::jpeg:
      break;
  }
  fail("image", "{}: a JPEG holds no labels, since its colours are not exact: save the mask as PNG or TIFF",
       name);
}

}  // namespace
}  // namespace image_io

Labels decode_labels(std::span<const std::uint8_t> bytes, const std::string& name,
                     const DecodeOptions& options) {
  image_io::DecodedLabels decoded = image_io::decode(bytes, name, options);
  Labels& labels = decoded.labels;
  const Turn turn(options.exif_orientation ? decoded.orientation : 1, labels.rows, labels.columns);
  if (turn.none()) return std::move(labels);
  Labels upright{turn.rows(), turn.columns(), std::vector<std::uint32_t>(labels.values.size())};
  auto out = upright.values.begin();
  for (std::int64_t r = 0; r < upright.rows; ++r)
    for (std::int64_t c = 0; c < upright.columns; ++c)
      *out++ = labels.values[static_cast<std::size_t>(turn.source(r, c))];
  return upright;
}

Labels read_labels(const std::string& path, const DecodeOptions& options) {
  return reading_file([&] {
    const image_io::PictureBytes picture = image_io::read_picture_bytes(path);
    return decode_labels(picture.bytes, picture.name, options);
  });
}

}  // namespace locant
