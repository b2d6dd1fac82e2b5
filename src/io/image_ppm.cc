// Binary PPM and PGM (P6, P5): a header of three numbers, then rows of one- or two-byte samples.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "io/depth16.h"
#include "io/image_decoders.h"
#include "io/label_decoders.h"

namespace locant::image_io {
namespace {

struct Header {
  std::int64_t columns = 0;
  std::int64_t rows = 0;
  std::int64_t max_value = 0;
  std::size_t data = 0;  // offset of the first sample
};

bool is_space(std::uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/// The next decimal number from `at` on; white space and comments (# to the end of the line) come before it.
std::int64_t read_number(Bytes bytes, std::size_t& at, const std::string& name, const char* what) {
  while (at < bytes.size() && (is_space(bytes[at]) || bytes[at] == '#')) {
    if (bytes[at] == '#') {
      while (at < bytes.size() && bytes[at] != '\n' && bytes[at] != '\r') ++at;
    } else {
      ++at;
    }
  }
  constexpr std::int64_t kLargest = 1'000'000'000;
  std::int64_t value = 0;
  const std::size_t first = at;
  while (at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '9') {
    value = std::min<std::int64_t>(10 * value + (bytes[at++] - '0'), kLargest);
  }
  require(at > first && at < bytes.size(), "image", "{}: broken PPM header: no {} at byte {}", name, what,
          first);
  return value;
}

Header read_header(Bytes bytes, const std::string& name) {
  std::size_t at = 2;
  require(bytes.size() > at && (is_space(bytes[at]) || bytes[at] == '#'), "image",
          "{}: broken PPM header: no white space after its first two letters", name);
  Header header;
  header.columns = read_number(bytes, at, name, "width");
  header.rows = read_number(bytes, at, name, "height");
  header.max_value = read_number(bytes, at, name, "largest value");
  require(is_space(bytes[at]), "image", "{}: broken PPM header: no white space before the samples (byte {})",
          name, at);
  header.data = at + 1;
  require(header.max_value >= 1 && header.max_value <= 65535, "image",
          "{}: PPM with largest value {}: 1 to 65535 is allowed", name, header.max_value);
  return header;
}

/// Sample to byte: round(255 v / max_value), ties to even as Pillow does.
std::vector<std::uint8_t> scale_table(std::int64_t max_value) {
  std::vector<std::uint8_t> table(max_value < 256 ? 256 : 65536);
  for (std::size_t i = 0; i < table.size(); ++i) {
    const double value = static_cast<double>(std::min(static_cast<std::int64_t>(i), max_value));
    table[i] = static_cast<std::uint8_t>(std::lrint(value / static_cast<double>(max_value) * 255.0));
  }
  return table;
}

/// A file's header, and its samples behind it: each of one or two bytes, most significant first.
struct Samples {
  Header header;
  std::int64_t channels = 1, width = 1, count = 0;
  const std::uint8_t* data = nullptr;

  std::uint16_t operator[](std::int64_t i) const {
    const std::uint8_t* at = data + i * width;
    return width == 1 ? at[0] : static_cast<std::uint16_t>(at[0] << 8 | at[1]);
  }
};

Samples open(Bytes bytes, const std::string& name, const DecodeOptions& options) {
  Samples out;
  const Header& header = out.header = read_header(bytes, name);
  check_size(header.rows, header.columns, name, options.max_pixels);
  out.channels = bytes[1] == '6' ? 3 : 1;
  out.width = header.max_value < 256 ? 1 : 2;
  out.count = header.rows * header.columns * out.channels;
  out.data = bytes.data() + header.data;
  const auto available = static_cast<std::int64_t>(bytes.size() - header.data);
  require(out.count * out.width <= available, "image",
          "{}: truncated PPM: {} x {} pixels need {} bytes, {} are there", name, header.columns, header.rows,
          out.count * out.width, available);
  return out;
}

}  // namespace

Decoded decode_ppm(Bytes bytes, const std::string& name, const DecodeOptions& options) {
  const Samples samples = open(bytes, name, options);
  Decoded decoded;
  decoded.image = make_image(samples.header.rows, samples.header.columns);
  std::vector<std::uint8_t> table;
  if (samples.width == 2 && options.depth16 != Depth16::high) {
    std::vector<std::uint16_t> all(static_cast<std::size_t>(samples.count));
    for (std::int64_t i = 0; i < samples.count; ++i) all[static_cast<std::size_t>(i)] = samples[i];
    table = depth16_table(all, options.depth16);
  } else {
    table = scale_table(samples.header.max_value);
  }
  std::uint8_t* out = decoded.image.rgb.data();
  const int copies = samples.channels == 3 ? 1 : 3;
  for (std::int64_t i = 0; i < samples.count; ++i)
    for (int copy = 0; copy < copies; ++copy) *out++ = table[samples[i]];
  if (samples.width == 2) note_dark(decoded.image, name, options);
  return decoded;
}

DecodedLabels decode_ppm_labels(Bytes bytes, const std::string& name, const DecodeOptions& options) {
  const Samples samples = open(bytes, name, options);
  std::vector<std::uint16_t> all(static_cast<std::size_t>(samples.count));
  for (std::int64_t i = 0; i < samples.count; ++i) all[static_cast<std::size_t>(i)] = samples[i];
  DecodedLabels decoded;
  decoded.labels = {samples.header.rows, samples.header.columns, {}};
  if (samples.channels == 1)
    decoded.labels.values.assign(all.begin(), all.end());
  else
    decoded.labels.values = colour_labels(all, 3, samples.width == 2);
  return decoded;
}

}  // namespace locant::image_io
